/*
 * A job's terminal, pty(7): the supervisor holds the master and drains it as it drains a pipe; the
 * slave is the program's stdin, stdout and stderr, belongs to the program's user, and is the
 * controlling terminal of its session. The kernel hangs it up when the session's leader is gone.
 *
 * A master differs from a pipe in three ways that matter here: its end is EIO; FIONREAD doesn't see
 * all that is under way; and it is at its end as soon as nobody has the slave open, although
 * somebody may open it again.
 */
#pragma once

#include <stdint.h>

struct birth;

/* What a terminal can hold that no FIONREAD tells: more than any kernel lets a writer put there. */
#define TERMINAL_HOLDS (64u << 10)

/*
 * Makes one for `birth`: its master, nonblocking, becomes birth->out[0] and birth->in, the slave
 * *ret_slave; all close-on-exec, and no controlling terminal of anybody's. Returns 0, or -errno
 * with birth->stage set: -ENOENT or -ENODEV where there is no devpts, -ENOSPC when it has no more.
 */
int terminal_open(struct birth *birth, int *ret_slave);

/* TIOCSWINSZ: the foreground process group gets SIGWINCH if that is news. 0 or -errno. */
int terminal_resize(int master, uint16_t rows, uint16_t cols);

enum terminal_state {
    TERMINAL_QUIET,    /* nothing to read now */
    TERMINAL_READABLE, /* FIONREAD tells some of it */
    TERMINAL_UNUSED,   /* all was read, and nobody has the slave open */
};
enum terminal_state terminal_look(int master);
