/* process.attach: somebody else's program, or one's own of an hour ago; from where one left off. */
#include <errno.h>
#include <string.h>

#include "proto/client/key.h"
#include "proto/client/params.h"
#include "proto/client/watch.h"

/* Where a channel goes on: where it stood; unheard of, where the caller wanted it; UINT64_MAX: from
 * its start. */
static uint64_t next_of(const struct request *request, const char *name,
                        const msgpack_object *from) {
    uint64_t off;

    for (size_t i = 0; i < request->n_channels; i++)
        if (strcmp(request->channels[i].name, name) == 0)
            return request->channels[i].off;
    return guestproto_get_uint(from, name, &off) ? off : UINT64_MAX;
}

static void put_from(const struct request *request, struct guestproto_params *params,
                     const msgpack_object *from) {
    msgpack_packer *pk = guestproto_put(params, "from");
    uint32_t n = 0;

    if (request->n_channels == 0 && from && from->type != MSGPACK_OBJECT_MAP) {
        msgpack_pack_object(pk, *from);
        return;
    }
    for (size_t i = 0; watch_channel(i); i++)
        n += next_of(request, watch_channel(i), from) != UINT64_MAX;
    msgpack_pack_map(pk, n);
    for (size_t i = 0; watch_channel(i); i++) {
        uint64_t off = next_of(request, watch_channel(i), from);

        if (off != UINT64_MAX)
            pack_kv_uint(pk, watch_channel(i), off);
    }
}

/* By its pid from the second time on: the tag may be another program's by then. */
static int prepare(struct request *request, struct guestproto_params **ret_params, char *where) {
    static const char *const without[] = {"from", "pid", "tag", NULL};
    const struct guestproto_params *asked = request->ask->params;
    msgpack_unpacked from;

    if (request->pid == 0)
        return 0;
    *ret_params = params_copy(asked, without);
    if (!*ret_params)
        return error_set(request->client, ENOMEM, "no memory");
    guestproto_put_int(*ret_params, "pid", request->pid);
    put_from(request, *ret_params, params_find(asked, "from", &from) ? &from.data : NULL);
    msgpack_unpacked_destroy(&from);
    key_where(request, where);
    return 0;
}

static const struct again by_offset = {prepare, false};
static const struct again as_it_is = {NULL, false};

/* Where the program's stdin stands, which also says whether it has one. */
static int ask_input(struct guestproto *client, const struct guestproto_params *params,
                     uint64_t *ret_off) {
    static const char *const without[] = {"from", "window", NULL};
    struct guestproto_params *input = params_copy(params, without);
    struct ask ask = {.method = "process.input", .params = input, .again = &as_it_is};
    struct guestproto_reply reply = {0};
    int r;

    if (!input)
        return error_set(client, ENOMEM, "no memory");
    guestproto_put_bytes(input, "data", "", 0);
    r = request_run(client, &ask, &reply);
    if (r == 0 && !guestproto_get_uint(&reply.result, "off", ret_off))
        r = error_fatal(client, EPROTO, "the guest broke the protocol: input without off");
    guestproto_params_free(input);
    guestproto_reply_free(&reply);
    return r;
}

int guestproto_attach(struct guestproto *client, const struct guestproto_params *params,
                      const struct guestproto_exec *exec, struct guestproto_reply *ret_reply) {
    struct watch watch = {.exec = exec};
    struct guestproto_stream stream = watch_stream(&watch);
    struct ask ask = {
        .method = "process.attach",
        .params = params,
        .stream = &stream,
        .again = &by_offset,
        .up = exec->input ? UP_INPUT : UP_NONE,
    };
    int r = exec->input ? ask_input(client, params, &ask.input_off) : 0;

    return r == 0 ? request_run(client, &ask, ret_reply) : r;
}
