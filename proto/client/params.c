/* The params of a request: a map whose pairs are packed as they come; its header is written by the
 * call. */
#include "proto/client/params.h"

#include <stdlib.h>
#include <string.h>

#include "proto/message.h"

/* msgpack-c's own write callback, and one that remembers that it failed. */
static int write_pairs(void *data, const char *bytes, size_t len) {
    struct guestproto_params *params = data;

    if (msgpack_sbuffer_write(&params->pairs, bytes, len) < 0)
        params->failed = true;
    return params->failed ? -1 : 0;
}

struct guestproto_params *guestproto_params_new(void) {
    struct guestproto_params *params = calloc(1, sizeof(*params));

    if (!params)
        return NULL;
    msgpack_sbuffer_init(&params->pairs);
    msgpack_packer_init(&params->packer, params, write_pairs);
    return params;
}

struct guestproto_params *guestproto_params_free(struct guestproto_params *params) {
    if (params)
        msgpack_sbuffer_destroy(&params->pairs);
    free(params);
    return NULL;
}

msgpack_packer *guestproto_put(struct guestproto_params *params, const char *key) {
    params->n++;
    pack_text(&params->packer, key);
    return &params->packer;
}

void guestproto_put_text(struct guestproto_params *params, const char *key, const char *text) {
    if (text)
        pack_text(guestproto_put(params, key), text);
}

void guestproto_put_name(struct guestproto_params *params, const char *key, const char *name) {
    if (name)
        pack_name(guestproto_put(params, key), name);
}

void guestproto_put_bytes(struct guestproto_params *params, const char *key, const void *data,
                          size_t len) {
    pack_bytes(guestproto_put(params, key), data, len);
}

void guestproto_put_int(struct guestproto_params *params, const char *key, int64_t value) {
    msgpack_pack_int64(guestproto_put(params, key), value);
}

void guestproto_put_number(struct guestproto_params *params, const char *key, double value) {
    msgpack_pack_double(guestproto_put(params, key), value);
}

void guestproto_put_bool(struct guestproto_params *params, const char *key, bool value) {
    msgpack_packer *pk = guestproto_put(params, key);

    if (value)
        msgpack_pack_true(pk);
    else
        msgpack_pack_false(pk);
}

void guestproto_put_names(struct guestproto_params *params, const char *key, char *const *names,
                          size_t n) {
    msgpack_packer *pk = guestproto_put(params, key);

    msgpack_pack_array(pk, n);
    for (size_t i = 0; i < n; i++)
        pack_name(pk, names[i]);
}

static size_t name_len(const char *env) {
    return strcspn(env, "=");
}

/* The guest refuses a repeated key; of two settings of one variable only the later travels. */
static bool set_again(char *const *envs, size_t n, size_t i) {
    size_t len = name_len(envs[i]);

    for (size_t j = i + 1; j < n; j++)
        if (name_len(envs[j]) == len && memcmp(envs[i], envs[j], len) == 0)
            return true;
    return false;
}

void guestproto_put_envs(struct guestproto_params *params, const char *key, char *const *envs,
                         size_t n) {
    msgpack_packer *pk = guestproto_put(params, key);
    size_t distinct = 0;

    for (size_t i = 0; i < n; i++)
        distinct += !set_again(envs, n, i);
    msgpack_pack_map(pk, distinct);
    for (size_t i = 0; i < n; i++) {
        size_t len = name_len(envs[i]);

        if (set_again(envs, n, i))
            continue;
        pack_name_len(pk, envs[i], len);
        if (envs[i][len] == '=')
            pack_name(pk, envs[i] + len + 1);
        else
            msgpack_pack_nil(pk);
    }
}

void guestproto_put_selector(struct guestproto_params *params, const char *pid_or_tag) {
    size_t len = strlen(pid_or_tag);

    /* A tag is never digits only; more digits than a pid has are sent as a tag, for the guest to
     * refuse. */
    if (len > 0 && len <= 18 && strspn(pid_or_tag, "0123456789") == len)
        guestproto_put_int(params, "pid", strtoll(pid_or_tag, NULL, 10));
    else
        guestproto_put_name(params, "tag", pid_or_tag);
}

void params_put_stream(struct guestproto_params *params) {
    if (!params->streamed)
        guestproto_put_bool(params, "stream", true);
    params->streamed = true;
}
