/*
 * A frame: u32 big-endian body length, then the body (PROTOCOL.md, "Frames"). Nothing here owns
 * memory.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER 4

/* Bytes that somebody else owns. `data` is NULL where nothing was given; empty but given has a
 * non-NULL data. */
struct slice {
    const uint8_t *data;
    size_t len;
};

/*
 * Looks for a whole frame at the start of `data`.
 *
 * Returns 1 with *ret_body set (it points into data) when a whole frame is there: it used
 * FRAME_HEADER + ret_body->len bytes; 0 when more bytes are needed, *ret_need being the whole
 * frame's size, header included (FRAME_HEADER while even the length is missing); -EMSGSIZE when the
 * length is over max_body, known from the first four bytes.
 */
int frame_pop(const void *data, size_t len, size_t max_body, struct slice *ret_body,
              size_t *ret_need);

/* Writes the header for a body of that length. */
void frame_header(uint8_t out[FRAME_HEADER], uint32_t body_len);
