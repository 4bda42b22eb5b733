/*
 * guestctl: one command a file, each a `const struct command` listed in commands.c. A command reads
 * its options with options_next, asks for the connection with ctl_connect, speaks through
 * libguestproto and returns the exit code.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/client/guestproto.h"

/* Exit codes. exec and wait end with the program's own where there is one. */
enum {
    EXIT_DONE = 0,
    EXIT_GUEST = 1,        /* the guest answered an error */
    EXIT_TIMED_OUT = 124,  /* the program's time, or the operation's, was over */
    EXIT_OWN = 125,        /* guestctl's own failure: usage, connection, a local file */
    EXIT_NO_START = 126,   /* a program that is there and can't be run */
    EXIT_NO_PROGRAM = 127, /* a program that isn't there */
    EXIT_INTERRUPTED = 130,
};

struct ctl;

/* One option: a row of help and a row of the parser. A table ends with a NULL text. */
struct option_row {
    int key;          /* what options_next returns: the letter, or 256 and up where there is none */
    const char *name; /* the long one, without dashes; NULL: none */
    const char *argument; /* what it takes, for the help; NULL: nothing */
    const char *text;     /* what it does, one sentence or a few */
    bool later;           /* known, and not in this version */
};

enum command_group {
    GROUP_PROCESSES,
    GROUP_FILES,
    GROUP_CAPSULE,
    GROUP_COUNT,
};

struct command {
    const char *name;
    enum command_group group;
    const char *usage;   /* what follows the name */
    const char *summary; /* one line, lower case, no full stop */
    const char *text;    /* paragraphs; may be NULL */
    const struct option_row *options;
    const char *after;  /* exit status, examples; may be NULL */
    bool options_first; /* what follows the first operand is no option of ours */
    int (*run)(struct ctl *ctl);
};

struct ctl {
    const struct command *command;
    struct guestproto *client; /* NULL until ctl_connect */
    const char *address;
    const char *token_file;
    bool json;
    int resume_ms; /* how long to look for a lost connection; < 0: not at all */
    int argc;      /* the command's own, argv[0] is its name; options_next leaves the operands */
    char **argv;
    int exit_code; /* what to return when options_next ended the command */
};

extern const struct command *const commands[];        /* NULL-terminated */
extern const char *const commands_later[];            /* names that a later version has */
const struct command *command_find(const char *name); /* NULL: none */

/* ---- options.c ---- */

/* The next option's key, with its argument; 0 at the end, when argc and argv hold the operands
 * only; -1: return ctl->exit_code (help was asked for, or a mistake was told). */
int options_next(struct ctl *ctl, const char **ret_argument);
/* Complains unless there are min … max operands (max < 0: any number). */
bool options_operands(struct ctl *ctl, int min, int max);
/* Each reads an option's or operand's value, or complains about it by name and is false. */
bool options_int(struct ctl *ctl, const char *what, const char *text, int64_t min, int64_t max,
                 int64_t *ret);
bool options_bytes(struct ctl *ctl, const char *what, const char *text,
                   uint64_t *ret); /* 4096, 64K, 16M, 1G */
bool options_seconds(struct ctl *ctl, const char *what, const char *text, double *ret);
bool options_number(struct ctl *ctl, const char *what, const char *text, double *ret); /* ≥ 0 */
bool options_mode(struct ctl *ctl, const char *text, int64_t *ret); /* octal, 12 bits */

/* ---- help.c ---- */
void help_print(void);
void help_print_command(const struct command *command);

/* ---- guestctl.c ---- */

/* "guestctl: COMMAND: …" on stderr. Returns EXIT_OWN. */
int ctl_complain(const struct ctl *ctl, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Connects and says hello; from then on Ctrl-C asks the guest to cancel. 0, or the exit code, told.
 */
int ctl_connect(struct ctl *ctl);
/* What most commands begin with, once their options are read: min to max operands (-1: any number),
 * and the connection. 0, or the exit code, told. */
int ctl_begin(struct ctl *ctl, int min, int max);
/* Tells why a call of the library returned r ≠ 0, and gives the exit code. */
int ctl_failed(const struct ctl *ctl, int r);
/* Makes params, or complains and ends: there is nothing to do without memory. */
struct guestproto_params *ctl_params(void);
/* A call whose result is printed as JSON with --json, and thrown away without. */
int ctl_call_simple(struct ctl *ctl, const char *method, struct guestproto_params *params);
