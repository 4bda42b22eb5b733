/*
 * The other way of an outlet: stream.data of an exec with open stdin, into its job. It begins with
 * the request, before there is a job: what comes till then is kept in the call's arena. Credit
 * comes back as the program's pipe or terminal takes the bytes; where they go nowhere any more (the
 * program reads no more, stdin was closed), at once.
 *
 * Embedded in the operation.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/call.h"

struct job;

struct inlet {
    struct receiver receiver;
    struct call *call;
    struct job *job; /* the owner's job_watch keeps it; NULL: none yet, or no more */
    uint8_t *early;  /* in the call's arena */
    size_t early_len, early_cap;
    bool ended;       /* stream.end came, and there is no job yet */
    uint64_t from;    /* what `started` tells: the offset of the stream's first byte */
    uint64_t repeats; /* of its first bytes: an earlier caller's are on their way already */
    uint64_t last;    /* offset behind its last byte */
    uint64_t pending; /* bytes without their credit */
    bool stopped;
};

/* With the request. */
void inlet_start(struct inlet *inlet, struct call *call);
/* The job is there: from now on it takes this stream's bytes, and no other's. */
void inlet_attach(struct inlet *inlet, struct job *job);
/* The call is answered, or lost. Takes one that wasn't started. */
void inlet_stop(struct inlet *inlet);

/* job_input.c: the supervisor has told how far it is. */
void inlet_taken(struct inlet *inlet);
