/*
 * From a job's store to a client's stream: the connection pulls, the outlet sends what the program
 * wrote, told by `off` and by gaps where bytes are gone. It keeps no bytes of its own, and no
 * pointer into the store from one turn of the loop to the next: the store may move.
 *
 * Any number read one job, each from where it likes and as fast as it likes. One of them may be its
 * opener: a job that blocks waits for that one alone. The others acknowledge nothing; who is
 * overrun is told a gap. Without credit an outlet isn't even woken.
 *
 * Embedded in the operation that streams.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/call.h"

struct job;

struct outlet {
    struct sender sender;
    struct job *job;            /* the owner's job_watch keeps it; NULL: stopped */
    struct outlet *prev, *next; /* of the job, in the order of coming */
    bool caller;                /* of an exec: the opener, or the next one when that is gone */
    bool released;              /* nothing is to wait for the client any more */
    bool starved;               /* there are bytes, and no credit for them */
    bool exited;                /* then `last` says where each channel ends */
    bool ended;                 /* each stream.end was sent */
    bool gapped;                /* it was told of a gap */
    unsigned turn;              /* the channel whose turn it is */
    uint64_t window;            /* credit that it started with */
    uint64_t sent[2];           /* next offset to send */
    uint64_t last[2];
    void (*done)(struct outlet *outlet);
};

struct outlet_plan {
    uint64_t from[2]; /* not above the end; what is kept no more is told as a gap */
    uint64_t window;
    bool caller;
};

/* Streams a job that runs or has exited. `done` is called once, when it has exited and all was
 * sent: the owner answers the call there, and stops the outlet. */
void outlet_start(struct outlet *outlet, struct call *call, struct job *job,
                  const struct outlet_plan *plan, void (*done)(struct outlet *outlet));
/* Its owner lets go; takes one that never started or was stopped. Before job_unwatch. */
void outlet_stop(struct outlet *outlet);

/* The doorbell rang, or the store moved. */
void outlet_output(struct outlet *outlet);

/* The job has exited: the streams end after the bytes that are there now. */
void outlet_exited(struct outlet *outlet);

/* Nothing is to wait for the client any more: what it didn't give credit for until the job's end is
 * told as a gap. */
void outlet_release(struct outlet *outlet);

/* ── between outlet.c and outlet_send.c ── */

/* Sends something of one channel, in turns; false: there is nothing, or no credit for it. */
bool outlet_send(struct outlet *outlet);
/* Where a channel ends as far as is known, and whether that is final. */
uint64_t outlet_end(const struct outlet *outlet, unsigned c, bool *ret_final);
/* It is the opener, of a job that waits for it. */
bool outlet_holds(const struct outlet *outlet);
/* What its client has surely taken of each channel. */
void outlet_taken(const struct outlet *outlet, uint64_t ret[2]);
