/*
 * The supervisor executes another file and stays the process that it is: its children, its fds and
 * the signals that wait for it are still its own; its memory goes by way of a memfd (saved.h).
 *
 * What is executed gets the arguments of the first start and one more behind them, which says what
 * it is there for and on which fd the state lies. It takes that away again, so that ps(1) shows
 * what it always showed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct saved_head;
struct supervisor;

enum reexec_role {
    REEXEC_NONE, /* an ordinary start */
    REEXEC_ASK,  /* a child that is asked whether it could */
    REEXEC_TAKE, /* it is the supervisor from here on */
    REEXEC_BACK, /* it is again: the next one could not */
};
/* Exit codes of who is asked; 0 would be anybody's. */
#define REEXEC_EXIT_YES 76
#define REEXEC_EXIT_NO 77

/* Why this was executed; the fd is in *ret_fd then, and the argument is gone from argv. A state
 * that is another process's is none to take. */
enum reexec_role reexec_role(int *argc, char **argv, int *ret_fd);

/* As the child that is asked: the exit code. */
int reexec_answer(int fd);

/* Asks `executable`, in a child. 0 with its pid, or -errno. */
int reexec_ask(struct supervisor *supervisor, int executable, pid_t *ret_pid);

/* Nothing is under way on another thread, which an exec would end. */
bool reexec_is_quiet(const struct supervisor *supervisor);
/* A start has been under way for so long that waiting for it is no use. */
bool reexec_is_hung(const struct supervisor *supervisor);

/* Executes the file; there is no agent now, and all is quiet. Returns only with -errno: then
 * nothing has changed. */
int reexec_run(struct supervisor *supervisor, int executable);

/* For who can't take the state: executes who wrote it. Returns only with -errno. */
int reexec_back(const struct saved_head *head, char *const *arguments, int fd);
