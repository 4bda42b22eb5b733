/*
 * A job's open stdin: the bytes that its program hasn't taken, on their way into its pipe or
 * terminal. They lie here, so an agent's death loses none of them; a program that doesn't read
 * makes them wait, up to a bound. Offsets count from the first byte ever; see LINK_INPUT.
 *
 * The end comes behind the bytes: for a pipe its close, for a terminal its VEOF character
 * (termios(3)), after which more may come. A program that reads no more (EPIPE, EIO) is no error:
 * the input is closed, and what waited is freed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link.h"
#include "supervisor/loop.h"

struct task;
struct input_chunk;

/* What all inputs hold together, and each. 0: no bound. Shared by all; their part of
 * struct supervisor. */
struct input_budget {
    uint64_t held, most; /* bytes of memory */
    uint64_t most_each;  /* bytes that one program hasn't taken */
    unsigned fds;        /* pipes that are open, or will be */
};

struct input {
    struct source source; /* our end; fd -1: there is none, or no more. Polled while bytes wait */
    bool open;            /* the job began with one */
    bool terminal;
    bool counted;   /* of the budget's `fds` */
    bool line_open; /* of a terminal: no newline since */
    bool closed;    /* nothing reaches the program any more */
    bool refused;   /* for want of room: what follows is void, until it begins at `taken` again */
    int err;        /* positive errno, for the next LINK_TAKEN */
    uint32_t ends;  /* that were taken */
    uint64_t taken, written;
    uint64_t held; /* memory of the chunks, of the budget's `held` */
    struct input_chunk *first, **last;
};

/* None. */
void input_init(struct input *input);
/* The job is about to start, and has a pipe. */
void input_expect(struct task *task);
/* The program started, and `fd` (ours now, O_NONBLOCK) is the writing end of its pipe, or its
 * terminal's master. */
void input_begin(struct task *task, int fd, bool terminal);
/* A LINK_INPUT. Returns NULL, or what the agent did wrong. */
const char *input_take(struct task *task, const struct link_input *order, const uint8_t *bytes);
/* Who sent it is gone, and what it was to be told. */
void input_let_go(struct input *input);
/* The leader was reaped: if nobody else reads, that was the end. */
void input_leader_gone(struct task *task);
/* The job is answered, and nobody will send more: the end, behind what waits for descendants. */
void input_last(struct task *task);
/* Closes it and frees what waits. */
void input_stop(struct task *task);

/* To another executable: what waits, part by part … */
void input_each(const struct input *input,
                void (*visit)(void *arg, const uint8_t *bytes, size_t len, bool ends), void *arg);
/* … and there: it was taken before, and waits again. 0 or -ENOMEM. */
int input_give(struct task *task, const uint8_t *bytes, size_t len, bool ends);
/* Behind all of it. */
void input_go_on(struct task *task);
