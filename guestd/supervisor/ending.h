/* How guestd ends a job: SIGTERM to its tree, grace, SIGKILL to its tree; and the wait until the
 * tree is dead. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "link.h"

struct supervisor;
struct task;

void ending_init(struct task *task);
/* The program runs: its deadline begins; what was asked while it started is done. */
void ending_arm(struct task *task);
/* LINK_CANCEL. */
void ending_cancel(struct supervisor *supervisor, uint64_t job);
/* SIGTERM, grace, SIGKILL. The first reason stays. */
void ending_begin(struct task *task, enum link_reason reason, uint32_t grace_ms);
/* SIGKILL now. */
void ending_kill(struct task *task, enum link_reason reason);
/* The leader is gone; the rest of its tree may have to go too. */
void ending_leader_gone(struct task *task);
/* Nothing more to wait for: the tree was looked at, and is dead where guestd ends it. */
bool ending_done(struct task *task);
/* Disarms. */
void ending_stop(struct task *task);
