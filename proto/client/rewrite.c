/* Params that were packed are looked into again, and copied with other values: for a request that
 * is asked once more. They are this side's own bytes, so they are well formed. */
#include <stdlib.h>
#include <string.h>

#include "proto/client/params.h"

static bool is_one_of(const msgpack_object *key, const char *const *names) {
    for (; names && *names; names++)
        if (key->type == MSGPACK_OBJECT_STR && key->via.str.size == strlen(*names) &&
            memcmp(key->via.str.ptr, *names, key->via.str.size) == 0)
            return true;
    return false;
}

/* The next pair: its key, its value, and where it begins and ends. False behind the last. */
struct pair {
    msgpack_unpacked key, value;
    size_t from, to;
};

static bool next_pair(const struct guestproto_params *params, struct pair *pair) {
    pair->from = pair->to;
    return msgpack_unpack_next(&pair->key, params->pairs.data, params->pairs.size, &pair->to) ==
               MSGPACK_UNPACK_SUCCESS &&
           msgpack_unpack_next(&pair->value, params->pairs.data, params->pairs.size, &pair->to) ==
               MSGPACK_UNPACK_SUCCESS;
}

static void pair_init(struct pair *pair) {
    *pair = (struct pair){.to = 0};
    msgpack_unpacked_init(&pair->key);
    msgpack_unpacked_init(&pair->value);
}

static void pair_deinit(struct pair *pair) {
    msgpack_unpacked_destroy(&pair->key);
    msgpack_unpacked_destroy(&pair->value);
}

struct guestproto_params *params_copy(const struct guestproto_params *params,
                                      const char *const *without) {
    struct guestproto_params *copy = guestproto_params_new();
    struct pair pair;

    if (!copy || !params)
        return copy;
    copy->failed = params->failed;
    pair_init(&pair);
    while (next_pair(params, &pair)) {
        if (is_one_of(&pair.key.data, without))
            continue;
        copy->n++;
        copy->packer.callback(copy, params->pairs.data + pair.from, pair.to - pair.from);
    }
    pair_deinit(&pair);
    return copy;
}

bool params_find(const struct guestproto_params *params, const char *key, msgpack_unpacked *ret) {
    const char *const names[] = {key, NULL};
    struct pair pair;
    bool found = false;

    msgpack_unpacked_init(ret);
    if (!params)
        return false;
    pair_init(&pair);
    while (!found && next_pair(params, &pair)) {
        found = is_one_of(&pair.key.data, names) && pair.value.data.type != MSGPACK_OBJECT_NIL;
        if (found) {
            *ret = pair.value;
            msgpack_unpacked_init(&pair.value);
        }
    }
    pair_deinit(&pair);
    return found;
}

static const msgpack_object *find_in(const struct guestproto_params *params, const char *key,
                                     msgpack_unpacked *value) {
    return params_find(params, key, value) ? &value->data : NULL;
}

bool params_has(const struct guestproto_params *params, const char *key) {
    msgpack_unpacked value;
    bool found = params_find(params, key, &value);

    msgpack_unpacked_destroy(&value);
    return found;
}

bool params_number(const struct guestproto_params *params, const char *key, double *ret) {
    msgpack_unpacked value;
    const msgpack_object *object = find_in(params, key, &value);
    bool found = true;

    if (!object)
        found = false;
    else if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        *ret = (double)object->via.u64;
    else if (object->type == MSGPACK_OBJECT_FLOAT64 || object->type == MSGPACK_OBJECT_FLOAT32)
        *ret = object->via.f64;
    else
        found = false;
    msgpack_unpacked_destroy(&value);
    return found;
}

uint64_t params_uint(const struct guestproto_params *params, const char *key, uint64_t otherwise) {
    msgpack_unpacked value;
    const msgpack_object *object = find_in(params, key, &value);

    if (object && object->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        otherwise = object->via.u64;
    msgpack_unpacked_destroy(&value);
    return otherwise;
}

bool params_true(const struct guestproto_params *params, const char *key) {
    msgpack_unpacked value;
    const msgpack_object *object = find_in(params, key, &value);
    bool is_true = object && object->type == MSGPACK_OBJECT_BOOLEAN && object->via.boolean;

    msgpack_unpacked_destroy(&value);
    return is_true;
}
