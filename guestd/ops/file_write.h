/*
 * One file.write under way, in one frame (file_write.c) or as a stream (file_write_stream.c).
 */
#pragma once

#include "agent/call.h"
#include "files/upload.h"
#include "files/user.h"

struct write_params {
    uint64_t present;
    const char *path;
    struct slice data;
    bool stream;
    int64_t mode;
    const char *user;
    bool create_parents;
    uint64_t size;
    const char *sha256;
    bool fsync, append;
    uint64_t off;
    bool atomic;
};

/* In the call's arena. */
struct write_call {
    struct call *call;
    struct work work;
    const struct write_params *params;
    uint8_t sha256[32];
    struct identity identity;
    struct upload_request request;
    struct entry_reader reader;
    struct entry entry;
    uint64_t bytes; /* written by this request */
    struct write_stream *stream;
};

/* Pool: resolves the user and makes the upload's request of the params. Returns 0 or a code of
 * files.h. */
int file_write_open(struct write_call *write);

/* Loop: answers and gives back what the call holds besides its arena. */
void file_write_answer(struct write_call *write, int result);

/* Loop: takes the content from the client and answers when it is all in its place. */
void file_write_stream(struct write_call *write);
