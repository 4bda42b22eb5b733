#include "proto/client/watch.h"

#include <errno.h>
#include <string.h>

const char *watch_channel(size_t channel) {
    static const char *const names[] = {
        [GUESTPROTO_STDOUT] = "stdout",
        [GUESTPROTO_STDERR] = "stderr",
        [GUESTPROTO_PTY] = "pty",
    };

    return channel < sizeof(names) / sizeof(names[0]) ? names[channel] : NULL;
}

static bool channel_from_name(const char *name, enum guestproto_channel *ret) {
    for (size_t i = 0; watch_channel(i); i++) {
        if (strcmp(name, watch_channel(i)) == 0) {
            *ret = (enum guestproto_channel)i;
            return true;
        }
    }
    return false;
}

/* The library holds what follows to what came before. */
static int begin(struct watch *watch, enum guestproto_channel channel, uint64_t off) {
    bool first = !watch->begun[channel];

    watch->begun[channel] = true;
    return first && watch->from_zero && off != 0 ? -EPROTO : 0;
}

/* The library has looked at pid and tag: they are there, and fit. */
static int on_event(void *context, const char *event, const msgpack_object *params) {
    const struct guestproto_exec *exec = ((struct watch *)context)->exec;
    struct guestproto_bytes text = {"", 0};
    struct guestproto_started started = {0};
    char tag[TAG_SIZE] = "";

    if (strcmp(event, "started") != 0 || !exec->started)
        return 0;
    guestproto_get_int(params, "pid", &started.pid);
    guestproto_get_bytes(params, "tag", &text);
    memcpy(tag, text.data, text.len);
    started.tag = tag;
    guestproto_get_uint(params, "stdin", &started.stdin_off);
    return exec->started(exec->context, &started);
}

static int on_data(void *context, const char *name, uint64_t off, const void *data, size_t len) {
    const struct guestproto_exec *exec = ((struct watch *)context)->exec;
    enum guestproto_channel channel;

    if (!channel_from_name(name, &channel))
        return 0;
    if (begin(context, channel, off) < 0)
        return -EPROTO;
    return exec->output ? exec->output(exec->context, channel, off, data, len) : 0;
}

static int on_gap(void *context, const char *name, uint64_t from, uint64_t to) {
    const struct guestproto_exec *exec = ((struct watch *)context)->exec;
    enum guestproto_channel channel;

    if (!channel_from_name(name, &channel))
        return 0;
    if (begin(context, channel, from) < 0)
        return -EPROTO;
    return exec->gap ? exec->gap(exec->context, channel, from, to) : 0;
}

static int on_end(void *context, const char *name, uint64_t off) {
    const struct guestproto_exec *exec = ((struct watch *)context)->exec;
    enum guestproto_channel channel;

    if (!channel_from_name(name, &channel))
        return 0;
    if (begin(context, channel, off) < 0)
        return -EPROTO;
    return exec->end ? exec->end(exec->context, channel, off) : 0;
}

static ssize_t on_source(void *context, void *buf, size_t len) {
    const struct guestproto_exec *exec = ((struct watch *)context)->exec;

    return exec->input(exec->context, buf, len);
}

struct guestproto_stream watch_stream(struct watch *watch) {
    const struct guestproto_exec *exec = watch->exec;

    return (struct guestproto_stream){
        .context = watch,
        .window = exec->window,
        .event = on_event,
        .data = on_data,
        .gap = on_gap,
        .end = on_end,
        .source = exec->input ? on_source : NULL,
        .source_fd = exec->input_fd,
        .poll_source = exec->poll_input,
    };
}
