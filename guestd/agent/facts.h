/*
 * What the agent knows of a job and the kernel doesn't: its record for clients. Packed into a blob
 * of at most LINK_FACTS_MAX bytes it travels with the spawn, lies in the job's store, and comes
 * back to the next agent with the job.
 *
 * The blob is a MessagePack array [version, …] that only grows at its end: an older agent's blob
 * has fewer items, which are then absent; a newer one's has more, which are not looked at. A
 * supervisor outlives agents of several versions.
 */
#pragma once

#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/encoding.h"
#include "proto/fields.h"

#define FACTS_ARGS_MAX 4096 /* bytes of args that are kept, their NULs counted; only whole ones */

#define FACTS_DIGEST 32

enum facts_flags {
    FACTS_BACKGROUND = 1 << 0,
    FACTS_STREAM = 1 << 1,
    FACTS_PTY = 1 << 2,
};

struct facts {
    const char *tag;
    const char *cmd;
    struct strv args;
    const char *cwd;
    const char *user;
    unsigned flags;
    enum encoding encoding;
    uint64_t max_output;          /* bytes kept of each stream */
    const char *key;              /* NULL: none */
    uint8_t digest[FACTS_DIGEST]; /* of the request that the key is for */
};

/* Appends the blob. Returns 0 or -ENOMEM. */
int facts_pack(const struct facts *facts, msgpack_sbuffer *out);

/* One heap block, freed by free(). Returns 0, -EBADMSG (no facts of a version that is understood)
 * or -ENOMEM. */
int facts_unpack(const void *blob, size_t len, struct facts **ret);
