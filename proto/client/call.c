/*
 * Plain calls, and which of them are asked again after a lost connection: those of which twice is
 * once. Of the others nobody knows whether they were done; PROTOCOL.md, "Writing a client".
 */
#include <errno.h>
#include <string.h>

#include "proto/client/key.h"
#include "proto/client/params.h"
#include "proto/client/request.h"

/* What is left of the time that the caller gives it. */
static int prepare_wait(struct request *request, struct guestproto_params **ret_params,
                        char *where) {
    static const char *const without[] = {"timeout", NULL};
    double seconds;

    if (request->attempt == 0 || !params_number(request->ask->params, "timeout", &seconds))
        return 0;
    seconds -= (double)(wire_now_ms() - request->began_ms) / 1000;
    *ret_params = params_copy(request->ask->params, without);
    if (!*ret_params)
        return error_set(request->client, ENOMEM, "no memory");
    guestproto_put_number(*ret_params, "timeout", seconds > 0 ? seconds : 0);
    return 0;
}

static const struct again as_it_is = {NULL, false};
static const struct again waiting = {prepare_wait, false};

/* NULL: not asked again. */
static const struct again *again_of(const char *method, const struct guestproto_params *params) {
    static const char *const harmless[] = {
        "ping",      "info",       "process.list",        "process.get",    "file.stat",
        "file.list", "file.mkdir", "process.close_stdin", "process.resize",
    };

    for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
        if (strcmp(method, harmless[i]) == 0)
            return &as_it_is;
    if (strcmp(method, "file.read") == 0)
        return &as_it_is;
    if (strcmp(method, "process.wait") == 0)
        return &waiting;
    if (strcmp(method, "process.input") == 0)
        return params_has(params, "off") ? &as_it_is : NULL;
    if (strcmp(method, "file.write") == 0)
        return params_true(params, "append") ? NULL : &as_it_is;
    return NULL;
}

int guestproto_call(struct guestproto *client, const char *method,
                    const struct guestproto_params *params, struct guestproto_reply *ret_reply) {
    struct ask ask = {.method = method, .params = params, .again = again_of(method, params)};

    if (strcmp(method, "exec") == 0)
        return key_run(client, &ask, ret_reply);
    return request_run(client, &ask, ret_reply);
}

int guestproto_call_stream(struct guestproto *client, const char *method,
                           const struct guestproto_params *params,
                           const struct guestproto_stream *stream,
                           struct guestproto_reply *ret_reply) {
    struct ask ask = {
        .method = method,
        .params = params,
        .stream = stream,
        .up = stream && stream->source ? UP_UPLOAD : UP_NONE,
    };

    return request_run(client, &ask, ret_reply);
}
