/* Keeps an agent running: starts it, hands it the listeners and the job table, pings it, and starts
 * the next one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "supervisor/loop.h"

struct supervisor;

struct keeper {
    pid_t pid;           /* 0: no agent at the moment */
    struct source link;  /* our end; fd -1: none */
    uint64_t generation; /* agents started; the present one is number `generation` */
    bool greeted;        /* LINK_HELLO is out */
    bool table_told;     /* LINK_JOBS_END is out */
    unsigned table_left; /* tasks that owe a LINK_JOB */
    bool served;         /* LINK_SERVING came */
    bool ready;          /* this agent's or an earlier one's `ready` was answered */
    bool stopping_owed;  /* LINK_STOPPING */
    bool counts_owed;    /* LINK_COUNTS */
    bool ping_owed;      /* LINK_PING */
    bool pong_owed;      /* by the agent */
    bool blocked;        /* the link is full */
    unsigned unheard;    /* orders that were taken since then */
    bool dismissed;      /* our half of it is shut: nothing more to say */
    bool foreign;        /* its LINK_VERSION isn't ours */
    uint32_t connections;
    int64_t backoff_ns;
    struct waiter *done, **last_done; /* LINK_DONE messages to send, see tell.h */
    struct deadline restart, ping, retry;
};

void keeper_init(struct supervisor *supervisor);
/* At the supervisor's start. The first agent waits for PROGRAM, so that it knows of it from its
 * first answer on; but not for one that hangs in its exec. */
void keeper_begin(struct supervisor *supervisor);
/* Starts an agent now. */
void keeper_start(struct supervisor *supervisor);
/* Whether `pid` was the agent; then the next one is on its way (none, once guestd stops). */
bool keeper_reaped(struct supervisor *supervisor, pid_t pid, int wait_status);
/* For an agent that breaks the rules of the link, or hangs. */
void keeper_kill(struct supervisor *supervisor, const char *why);
/* Its end of the link is closed: an end that was asked for, or a reason to kill it. */
void keeper_lost(struct supervisor *supervisor);
/* It reads what is still in the link, sends its last answers and ends by itself; what it orders
 * until then counts. Who waits for that has a deadline of his own. */
void keeper_dismiss(struct supervisor *supervisor);
/* Connections or jobs came or went: should it be pinged? */
void keeper_watch(struct supervisor *supervisor);
