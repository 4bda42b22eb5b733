/*
 * How captured output travels in a result (`encoding` of exec and process.wait; PROTOCOL.md,
 * "Processes"): as text, as base64, or as bytes. Text is decided for the whole of both streams,
 * never for a piece. Nothing here allocates.
 */
#pragma once

#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/frame.h"

enum encoding {
    ENCODING_AUTO, /* utf-8 if both streams are valid, else base64 for both */
    ENCODING_UTF8, /* what isn't valid becomes U+FFFD, one for each maximal part of a sequence */
    ENCODING_BASE64,
    ENCODING_RAW,
};

/* In the order of the enum, NULL at the end. */
extern const char *const encoding_names[];

/* What was kept of one stream. */
struct captured {
    const uint8_t *data;
    size_t len;
    bool cut_before; /* bytes before these are gone: the first may be the rest of a sequence */
    bool cut_after;  /* bytes after these are gone: the last may be the start of one */
};

/* Decides what `wanted` comes to for these two streams: never AUTO. When it is text, sequences that
 * were cut by truncation are taken off both. */
enum encoding encoding_decide(enum encoding wanted, struct captured stream[2]);

/* Bytes that one stream takes when packed, its header left out. */
uint64_t encoding_size(enum encoding encoding, struct slice bytes);
/* The most bytes of a stream that surely take no more than `room` when packed. */
uint64_t encoding_fits(enum encoding encoding, uint64_t room);

/* Packs one stream; not for AUTO. */
void encoding_pack(msgpack_packer *pk, enum encoding encoding, struct slice bytes);
