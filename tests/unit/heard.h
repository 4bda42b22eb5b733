/* What the callbacks of an exec or an attach heard, as text, and what they answer. */
#pragma once

#include <stdarg.h>
#include <string.h>

#include "fake_guest.h"

struct heard {
    char text[1024];
    uint64_t bytes;
    int answer;        /* what the output callback returns */
    const char *typed; /* the input callback's, a piece up to each '|'; NULL: nothing */
    char resumed[256]; /* of the client's own callback */
};

static inline void hear(struct heard *heard, const char *fmt, ...) {
    size_t len = strlen(heard->text);
    va_list args;

    va_start(args, fmt);
    vsnprintf(heard->text + len, sizeof(heard->text) - len, fmt, args);
    va_end(args);
}

static inline int heard_started(void *context, const struct guestproto_started *started) {
    hear(context, "started %d %s;", (int)started->pid, started->tag);
    return 0;
}

static inline int heard_output(void *context, enum guestproto_channel channel, uint64_t off,
                               const void *data, size_t len) {
    struct heard *heard = context;

    if (len < 64)
        hear(heard, "%d@%d %.*s;", channel, (int)off, (int)len, (const char *)data);
    heard->bytes += len;
    return heard->answer;
}

static inline int heard_gap(void *context, enum guestproto_channel channel, uint64_t from,
                            uint64_t to) {
    hear(context, "%d gap %d-%d;", channel, (int)from, (int)to);
    return 0;
}

static inline int heard_end(void *context, enum guestproto_channel channel, uint64_t off) {
    hear(context, "%d end %d;", channel, (int)off);
    return 0;
}

static inline ssize_t heard_input(void *context, void *buf, size_t len) {
    struct heard *heard = context;
    size_t n = strcspn(heard->typed, "|");

    if (n > len)
        n = len;
    memcpy(buf, heard->typed, n);
    heard->typed += n + (heard->typed[n] == '|');
    return (ssize_t)n;
}

static inline struct guestproto_exec heard_exec(struct heard *heard, uint64_t window) {
    return (struct guestproto_exec){
        .context = heard,
        .window = window,
        .started = heard_started,
        .output = heard_output,
        .gap = heard_gap,
        .end = heard_end,
        .input = heard->typed ? heard_input : NULL,
        .input_fd = -1,
    };
}

static inline void heard_resumed(void *context, const char *method, const char *where) {
    struct heard *heard = context;
    size_t len = strlen(heard->resumed);

    snprintf(heard->resumed + len, sizeof(heard->resumed) - len, "%s %s;", method, where);
}
