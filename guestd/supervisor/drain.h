/* Draining: from a job's pipes into its store, at most 256 KiB a pipe a turn, and the doorbell for
 * who reads the store. */
#pragma once

#include <stdbool.h>

struct task;
struct task_pipe;

/* Begins with the pipe whose reading end is in pipe->source.fd; -1: the channel has none. */
void drain_begin(struct task_pipe *pipe);
/* Goes on after a full ring. */
void drain_resume(struct task_pipe *pipe);
/* The leader is gone: notes what is in the pipe, and reads as much as a turn may. */
void drain_last(struct task_pipe *pipe);
/* A turn without an event: a paused pipe may be at its end, and nobody would say so. */
void drain_again(struct task_pipe *pipe);
/* Nothing more that the answer waits for; `waited_out`: it has waited for others who hold the pipe
 * long enough. */
bool drain_done(const struct task_pipe *pipe, bool waited_out);
/* How many of its pipes somebody may still hold. */
unsigned drain_open(const struct task *task);
/* Forgets the pipe. */
void drain_stop(struct task_pipe *pipe);
/* LINK_OUTPUT, if LINK_LOOK asked for it and there is something. */
void drain_ring(struct task *task);
