/*
 * A job's store, as the agent sees it: mapped read-only, written by the supervisor meanwhile.
 * Offsets are absolute: byte 0 is the first that the program ever wrote to that stream.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guestd/link.h"
#include "proto/frame.h"

struct view {
    const uint8_t *base; /* NULL: nothing is mapped, every stream is empty */
    size_t len;
    bool over; /* view_open_ended found both streams at their ends: then these hold */
    bool blocks;
    uint64_t end[2], oldest[2];
};

/* Maps a store after its head was held against its size; the fd stays the caller's. Returns 0,
 * -EBADMSG or -errno. */
int view_open(int fd, struct view *ret);
/*
 * The same for a job that has exited, without touching the mapping: that takes a page and a page
 * table each, of which an agent that takes over a thousand records needs none before somebody asks.
 * Where nothing was kept, nothing is mapped.
 */
int view_open_ended(int fd, struct view *ret);
/* Takes a zeroed or open view; leaves it zeroed. */
void view_close(struct view *view);
/* Gives the pages back to the store until they are read again: a record that is only kept costs
 * this process nothing. */
void view_rest(const struct view *view);

/* The facts in a store, read into `room`: it is of LINK_FACTS_MAX bytes. None where there is no
 * store. */
struct slice view_read_facts(int fd, uint8_t *room);

/* c: 0 stdout, 1 stderr. Bytes read so far; the first that is still kept; whether more can come. */
uint64_t view_end(const struct view *view, unsigned c);
uint64_t view_oldest(const struct view *view, unsigned c);
bool view_eof(const struct view *view, unsigned c);
uint64_t view_size(const struct view *view, unsigned c);
/* It waits for its reader. */
bool view_blocks(const struct view *view);
/* It keeps the first bytes, not the last. */
bool view_keeps_head(const struct view *view, unsigned c);

/* Where the bytes from `off` on lie, and how many follow there without a break; at most up to
 * `end`. Only for bytes that nobody overwrites: a head, or what a blocking store hasn't had
 * acknowledged. */
struct slice view_peek(const struct view *view, unsigned c, uint64_t off, uint64_t end);

/*
 * Copies [off, off + len) out, then looks whether it was overwritten meanwhile: returns the first
 * offset whose byte in `out` holds (off when all do, off + len when none does).
 */
uint64_t view_copy(const struct view *view, unsigned c, uint64_t off, void *out, size_t len);
