/* exec with its output live: the stream's names become a C program's callbacks. */
#include <errno.h>
#include <string.h>

#include "proto/client/params.h"

static bool channel_from_name(const char *name, enum guestproto_channel *ret) {
    static const char *const names[] = {
        [GUESTPROTO_STDOUT] = "stdout",
        [GUESTPROTO_STDERR] = "stderr",
        [GUESTPROTO_PTY] = "pty",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            *ret = (enum guestproto_channel)i;
            return true;
        }
    }
    return false;
}

struct run {
    const struct guestproto_exec *exec;
    bool begun[GUESTPROTO_PTY + 1];
};

/* A new program's channels begin at 0. The library holds what follows to what came before. */
static int begin(struct run *run, enum guestproto_channel channel, uint64_t off) {
    bool first = !run->begun[channel];

    run->begun[channel] = true;
    return first && off != 0 ? -EPROTO : 0;
}

static int on_event(void *context, const char *event, const msgpack_object *params) {
    const struct guestproto_exec *exec = ((struct run *)context)->exec;
    struct guestproto_bytes text = {"", 0};
    char tag[129] = "";
    int64_t pid = 0;

    if (strcmp(event, "started") != 0 || !exec->started)
        return 0;
    guestproto_get_int(params, "pid", &pid);
    guestproto_get_bytes(params, "tag", &text);
    if (text.len >= sizeof(tag))
        return -EPROTO;
    memcpy(tag, text.data, text.len);
    return exec->started(exec->context, pid, tag);
}

static int on_data(void *context, const char *name, uint64_t off, const void *data, size_t len) {
    const struct guestproto_exec *exec = ((struct run *)context)->exec;
    enum guestproto_channel channel;

    if (!channel_from_name(name, &channel))
        return 0;
    if (begin(context, channel, off) < 0)
        return -EPROTO;
    if (!exec->output)
        return 0;
    return exec->output(exec->context, channel, off, data, len);
}

static int on_gap(void *context, const char *name, uint64_t from, uint64_t to) {
    const struct guestproto_exec *exec = ((struct run *)context)->exec;
    enum guestproto_channel channel;

    if (!channel_from_name(name, &channel))
        return 0;
    if (begin(context, channel, from) < 0)
        return -EPROTO;
    if (!exec->gap)
        return 0;
    return exec->gap(exec->context, channel, from, to);
}

static int on_end(void *context, const char *name, uint64_t off) {
    const struct guestproto_exec *exec = ((struct run *)context)->exec;
    enum guestproto_channel channel;

    if (!channel_from_name(name, &channel))
        return 0;
    if (begin(context, channel, off) < 0)
        return -EPROTO;
    if (!exec->end)
        return 0;
    return exec->end(exec->context, channel, off);
}

int guestproto_exec(struct guestproto *client, struct guestproto_params *params,
                    const struct guestproto_exec *exec, struct guestproto_reply *ret_reply) {
    struct run run = {.exec = exec};
    struct guestproto_stream stream = {
        .context = &run,
        .window = exec->window,
        .event = on_event,
        .data = on_data,
        .gap = on_gap,
        .end = on_end,
    };

    params_put_stream(params);
    return guestproto_call_stream(client, "exec", params, &stream, ret_reply);
}
