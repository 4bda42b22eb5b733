/* A line on stderr that tells how far a transfer is: only where stderr is a terminal, and only once
 * it takes a while. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *name;
    uint64_t total; /* bytes; 0: not known */
    int64_t start_ms, shown_ms;
    bool on, drawn;
};

void progress_begin(struct progress *progress, const char *name, uint64_t total);
/* A guestproto_progress: context is the struct progress. */
void progress_update(void *context, uint64_t bytes);
/* The last line, with the rate of the whole, or no line at all when it failed. */
void progress_end(struct progress *progress, uint64_t bytes, bool done);
