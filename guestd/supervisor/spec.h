/*
 * A start's spec: the sealed memfd of guestd/link.h (struct link_spec), read into memory of our own
 * and taken apart. Runs on spawn threads: nothing in it is believed before it is checked against
 * what was really read.
 */
#pragma once

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct spec {
    void *bytes; /* the copy that everything below points into */
    char **argv; /* NULL-terminated, as are … */
    char **envp;
    char **candidates;
    const char *cwd; /* empty: stay */
    const gid_t *groups;
    unsigned n_groups;
    struct sock_fprog filter;
    const void *facts;
    size_t facts_len;
};

/* 0, -EINVAL (not sealed, or counts that don't fit), -E2BIG or -errno. */
int spec_read(int fd, struct spec *ret);
/* Takes a zeroed one. */
void spec_deinit(struct spec *spec);

/* Makes one, for the PROGRAM of the command line. `candidates`, `argv`, `envp` end with NULL.
 * Returns the fd or -errno. */
int spec_make(char *const argv[], char *const envp[], char *const candidates[], const void *facts,
              size_t facts_len);
