/*
 * A start's spec (struct link_spec of guestd/link.h), which came in a sealed memfd or as bytes:
 * taken apart on spawn threads. Nothing in it is believed before it is checked against what is
 * really there.
 */
#pragma once

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* As it came. A thread may read what the main loop makes a file of. */
struct spec_source {
    int fd;      /* the memfd; -1: it came as these */
    void *bytes; /* ours */
    size_t len;
    int file; /* made of the bytes by spec_source_file, or -1 */
};
#define SPEC_SOURCE_FD(memfd) \
    { .fd = (memfd), .file = -1 }

struct spec {
    void *copy;  /* of a memfd's bytes, or NULL. What is below points into these, or the source's */
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

/* Copies the bytes. 0 or -ENOMEM. */
int spec_source_copy(const void *bytes, size_t len, struct spec_source *ret);
/* The memfd that shows it to a new agent; it stays the source's. Or -errno. */
int spec_source_file(struct spec_source *source);
void spec_source_deinit(struct spec_source *source);

/* The source has to outlive it. 0, -EINVAL (not sealed, or counts that don't fit), -E2BIG or
 * -errno. */
int spec_read(const struct spec_source *source, struct spec *ret);
/* Takes a zeroed one. */
void spec_deinit(struct spec *spec);

/* Makes one, for the PROGRAM of the command line. `candidates`, `argv`, `envp` end with NULL. 0 or
 * -ENOMEM. */
int spec_make(char *const argv[], char *const envp[], char *const candidates[], const void *facts,
              size_t facts_len, struct spec_source *ret);
