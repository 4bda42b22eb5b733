/*
 * From a job's store to a client's stream: the connection pulls, the outlet sends what the program
 * wrote, told by `off` and by gaps where bytes are gone. It keeps no bytes of its own. When the
 * client takes none, none are read; a job that blocks waits then, one that drops loses its oldest.
 *
 * Embedded in the operation that streams. process.attach will be a second kind of owner: it starts
 * elsewhere than at byte 0, and acknowledges nothing (`opener` false).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/call.h"

struct job;

struct outlet {
    struct sender sender;
    struct job *job;   /* the owner's job_watch keeps it */
    bool opener;       /* the job waits for this one */
    bool armed;        /* a doorbell is asked for and has not rung */
    bool released;     /* nothing is to wait for the client any more */
    bool starved;      /* there are bytes, and no credit for them */
    bool exited;       /* then `last` says where each channel ends */
    bool ended;        /* both stream.end were sent */
    unsigned next;     /* the channel whose turn it is */
    uint64_t sent[2];  /* next offset to send */
    uint64_t acked[2]; /* what the supervisor was told */
    uint64_t last[2];
    void (*done)(struct outlet *outlet);
};

/* Streams a running job from its first byte. `done` is called once, when it has exited and all was
 * sent: the owner answers the call there. */
void outlet_start(struct outlet *outlet, struct call *call, struct job *job, uint64_t window,
                  void (*done)(struct outlet *outlet));

/* The doorbell rang. */
void outlet_output(struct outlet *outlet);

/* The job has exited: the streams end after the bytes that are there now. */
void outlet_exited(struct outlet *outlet);

/* Nothing is to wait for the client any more: what it didn't give credit for until the job's end is
 * told as a gap. */
void outlet_release(struct outlet *outlet);
