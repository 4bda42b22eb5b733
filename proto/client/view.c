/* Typed looks into what a guest sent: nothing is believed to be there, or to be of the type one
 * hopes for. */
#include <math.h>
#include <string.h>

#include "proto/client/guestproto.h"

static bool is_text(const msgpack_object *object, const char *text) {
    size_t len = strlen(text);

    return object->type == MSGPACK_OBJECT_STR && object->via.str.size == len &&
           memcmp(object->via.str.ptr, text, len) == 0;
}

const msgpack_object *guestproto_get(const msgpack_object *map, const char *key) {
    if (!map || map->type != MSGPACK_OBJECT_MAP)
        return NULL;
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *pair = &map->via.map.ptr[i];

        if (is_text(&pair->key, key))
            return pair->val.type == MSGPACK_OBJECT_NIL ? NULL : &pair->val;
    }
    return NULL;
}

bool guestproto_get_bytes(const msgpack_object *map, const char *key,
                          struct guestproto_bytes *ret) {
    const msgpack_object *value = guestproto_get(map, key);

    if (!value || (value->type != MSGPACK_OBJECT_STR && value->type != MSGPACK_OBJECT_BIN))
        return false;
    if (value->type == MSGPACK_OBJECT_STR)
        *ret = (struct guestproto_bytes){value->via.str.ptr, value->via.str.size};
    else
        *ret = (struct guestproto_bytes){value->via.bin.ptr, value->via.bin.size};
    if (!ret->data)
        ret->data = "";
    return true;
}

bool guestproto_get_int(const msgpack_object *map, const char *key, int64_t *ret) {
    const msgpack_object *value = guestproto_get(map, key);

    if (value && value->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *ret = value->via.i64;
    else if (value && value->type == MSGPACK_OBJECT_POSITIVE_INTEGER && value->via.u64 <= INT64_MAX)
        *ret = (int64_t)value->via.u64;
    else
        return false;
    return true;
}

bool guestproto_get_uint(const msgpack_object *map, const char *key, uint64_t *ret) {
    const msgpack_object *value = guestproto_get(map, key);

    if (!value || value->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return false;
    *ret = value->via.u64;
    return true;
}

bool guestproto_get_number(const msgpack_object *map, const char *key, double *ret) {
    const msgpack_object *value = guestproto_get(map, key);

    if (!value)
        return false;
    switch (value->type) {
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        *ret = (double)value->via.u64;
        return true;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        *ret = (double)value->via.i64;
        return true;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        *ret = value->via.f64;
        return isfinite(*ret);
    default:
        return false;
    }
}

bool guestproto_get_bool(const msgpack_object *map, const char *key, bool *ret) {
    const msgpack_object *value = guestproto_get(map, key);

    if (!value || value->type != MSGPACK_OBJECT_BOOLEAN)
        return false;
    *ret = value->via.boolean;
    return true;
}

bool guestproto_get_is(const msgpack_object *map, const char *key, const char *text) {
    const msgpack_object *value = guestproto_get(map, key);

    return value && is_text(value, text);
}

bool guestproto_entry_read(const msgpack_object *object, struct guestproto_entry *ret) {
    struct guestproto_entry entry = {0};
    uint64_t mode = 0;

    if (!guestproto_get_bytes(object, "name", &entry.name) ||
        !guestproto_get_bytes(object, "path", &entry.path) ||
        !guestproto_get_bytes(object, "type", &entry.type) ||
        !guestproto_get_uint(object, "size", &entry.size))
        return false;
    if (!guestproto_get_bytes(object, "permissions", &entry.permissions))
        entry.permissions = (struct guestproto_bytes){"??????????", 10};
    if (!guestproto_get_bytes(object, "owner", &entry.owner))
        entry.owner = (struct guestproto_bytes){"?", 1};
    if (!guestproto_get_bytes(object, "group", &entry.group))
        entry.group = (struct guestproto_bytes){"?", 1};
    guestproto_get_bytes(object, "symlink_target", &entry.symlink_target);
    if (guestproto_get_uint(object, "mode", &mode))
        entry.mode = mode & 07777;
    guestproto_get_int(object, "modified_at", &entry.modified_at);
    *ret = entry;
    return true;
}
