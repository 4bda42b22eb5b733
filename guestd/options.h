/*
 * What guestd was told to be: its command line, and the kernel's where it is the machine's init.
 * The help text, the table of options and what each takes are in options.c.
 */
#pragma once

#include <stdbool.h>

#include "link.h"
#include "proto/address.h"
#include "supervisor/supervisor.h"

struct settings {
    struct supervisor_options options;
    struct address address[LINK_LISTENERS]; /* beside options.listener: what to remove at the end */
    const char *token_file, *hostname;
    char **kernel_words; /* of the kernel's command line; NULL: not the machine's init */
    bool no_token;
    bool forgiving; /* the machine's init: a wrong option must not be the end of the machine */
};

/* Every default, before anything is read. */
void options_init(struct settings *settings);

/*
 * Reads a command line into settings; what is wrong is said on stderr.
 *
 * Returns 0, 1 when an option answered and that was all (--help, --version), or -EINVAL; never
 * -EINVAL where the settings are forgiving.
 */
int options_parse(struct settings *settings, int argc, char **argv);

/* guestd.KEY=VALUE of the kernel's command line; a KEY alone is an option without a value. */
void options_parse_kernel_line(struct settings *settings);

/*
 * Behind options_parse. What the kernel doesn't know of its command line (`splash`) are the first
 * arguments of init, before those that stand behind `--` there: only these are PROGRAM.
 */
void options_drop_kernel_words(struct settings *settings);
