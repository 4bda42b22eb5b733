/* Packing helpers: what is `str`, what is `bin`, decided in one place. */
#include <string.h>

#include "proto/message.h"

static void pack_str(msgpack_packer *pk, const void *text, size_t len) {
    msgpack_pack_str(pk, len);
    msgpack_pack_str_body(pk, text, len);
}

void pack_text(msgpack_packer *pk, const char *text) {
    pack_str(pk, text, strlen(text));
}

void pack_name_len(msgpack_packer *pk, const void *name, size_t len) {
    if (utf8_valid(name, len))
        pack_str(pk, name, len);
    else
        pack_bytes(pk, name, len);
}

void pack_name(msgpack_packer *pk, const char *name) {
    pack_name_len(pk, name, strlen(name));
}

void pack_bytes(msgpack_packer *pk, const void *data, size_t len) {
    msgpack_pack_bin(pk, len);
    if (len)
        msgpack_pack_bin_body(pk, data, len);
}

void pack_kv_text(msgpack_packer *pk, const char *key, const char *value_or_null) {
    pack_text(pk, key);
    if (value_or_null)
        pack_text(pk, value_or_null);
    else
        msgpack_pack_nil(pk);
}

void pack_kv_name(msgpack_packer *pk, const char *key, const char *value_or_null) {
    pack_text(pk, key);
    if (value_or_null)
        pack_name(pk, value_or_null);
    else
        msgpack_pack_nil(pk);
}

void pack_kv_int(msgpack_packer *pk, const char *key, int64_t value) {
    pack_text(pk, key);
    msgpack_pack_int64(pk, value);
}

void pack_kv_uint(msgpack_packer *pk, const char *key, uint64_t value) {
    pack_text(pk, key);
    msgpack_pack_uint64(pk, value);
}

void pack_kv_bool(msgpack_packer *pk, const char *key, bool value) {
    pack_text(pk, key);
    if (value)
        msgpack_pack_true(pk);
    else
        msgpack_pack_false(pk);
}

void pack_kv_double(msgpack_packer *pk, const char *key, double value) {
    pack_text(pk, key);
    msgpack_pack_double(pk, value);
}

void pack_kv_nil(msgpack_packer *pk, const char *key) {
    pack_text(pk, key);
    msgpack_pack_nil(pk);
}
