/* What the supervisor tells the agent. A full link makes it wait in the tasks (`owed`) and in short
 * lists, in order. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct supervisor;
struct waiter;

/* LINK_HELLO with the listeners to a new agent, then all tasks owe it a LINK_JOB. keeper.greeted
 * says whether it went. */
void tell_hello(struct supervisor *supervisor);
/* Sends what is owed until the link is full. */
void tell_owed(struct supervisor *supervisor);
/* Nothing is owed, or nobody is there to hear it. */
bool tell_idle(const struct supervisor *supervisor);
/* LINK_COUNTS, if somebody is there who could ask the agent. */
void tell_counts(struct supervisor *supervisor);
/* LINK_DONE. */
void tell_done(struct supervisor *supervisor, uint64_t request, int err);
/* The same, with a waiter that was kept until now; takes it over. */
void tell_waiter(struct supervisor *supervisor, struct waiter *waiter);
/* LINK_PING, now or when the link has room; its answer is owed from now on. */
void tell_ping(struct supervisor *supervisor);
