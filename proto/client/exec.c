/* exec: a program of one's own, its output live or collected. */
#include "proto/client/key.h"
#include "proto/client/params.h"
#include "proto/client/watch.h"

#define EXEC_WINDOW (512u << 10)

/*
 * A guest keeps what its reader hasn't credited, up to half of max_output, for a reader that comes
 * back: a larger window would have bytes under way that nobody has when the agent dies.
 */
static uint64_t window_of(const struct guestproto_params *params, uint64_t wanted) {
    uint64_t half = params_uint(params, "max_output", UINT64_MAX) / 2;
    uint64_t window = wanted ? wanted : EXEC_WINDOW;

    if (half == 0)
        half = 1;
    return window < half ? window : half;
}

int guestproto_exec(struct guestproto *client, struct guestproto_params *params,
                    const struct guestproto_exec *exec, struct guestproto_reply *ret_reply) {
    struct watch watch = {.exec = exec, .from_zero = true};
    struct guestproto_stream stream = watch_stream(&watch);
    struct ask ask = {
        .method = "exec",
        .params = params,
        .up = exec->input ? UP_STDIN : UP_NONE,
        .mute = exec->captured,
    };

    if (!exec->captured) {
        params_put_stream(params);
        stream.window = window_of(params, exec->window);
    }
    if (!exec->captured || exec->input)
        ask.stream = &stream;
    else
        stream.window = 0;
    return key_run(client, &ask, ret_reply);
}
