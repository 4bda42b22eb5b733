/*
 * A job's open stdin on the agent's side of the link: one sequence of bytes with absolute offsets,
 * whoever sends them. What clients send waits here only until the supervisor has it (LINK_TAKEN),
 * and no longer than that is it the agent's: what was answered, no death of the agent loses.
 *
 * How much waits is bounded before it is taken on: process.input by limits.stdin_buffer a job and
 * limits.queue_total over all, a stream by its credit. A full link makes it wait where it is.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "guestd/link.h"

struct inlet;
struct input_part;
struct job;
struct jobs;

struct job_input {
    bool open; /* the job has one */
    bool terminal;
    bool closed; /* nothing reaches the program any more */
    bool ended;  /* of a pipe: its end was asked for; nothing comes behind it */
    bool queued; /* in jobs->feeding, which holds the job */
    /* Offsets, written ≤ taken ≤ sent ≤ end: the program has it, the supervisor, the link, we. */
    uint64_t written, taken, sent, end;
    uint32_t ends_taken, ends; /* LINK_INPUT_CLOSE, of those that were asked for */
    uint64_t counted;          /* of jobs->unread */
    struct input_part *first, **last, *unsent;
    struct inlet *inlet; /* the stream that feeds it; NULL: none */
    struct job *next_feeding;
};

void job_input_init(struct job *job, uint32_t flags /* enum link_spawn_flags */);
/* The program runs: what waited for that goes to it. */
void job_input_started(struct job *job);
/* The job has exited: nothing reaches it. */
void job_input_exited(struct job *job);
/* Nobody is answered any more. */
void job_input_deinit(struct job *job);

/* From a stream. The bytes are copied. 0, or -ENOMEM: then nothing was taken on. */
int job_input_add(struct job *job, const uint8_t *bytes, size_t len);
int job_input_add_end(struct job *job);

void jobs_input_init(struct jobs *jobs);
/* Closes a handle, whose `data` is the jobs. */
void jobs_input_deinit(struct jobs *jobs, uv_close_cb on_closed);
void jobs_on_taken(struct jobs *jobs, const struct link_taken *message);
/* The link has room. */
void jobs_feed(struct jobs *jobs);
