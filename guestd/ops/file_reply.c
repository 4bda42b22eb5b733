#include "ops/file_reply.h"

#include <errno.h>
#include <string.h>

#include "files/files.h"
#include "proto/message.h"

void file_pack_entry(msgpack_packer *pk, const struct entry *entry) {
    msgpack_pack_map(pk, 10);
    pack_kv_name(pk, "name", entry->name);
    pack_kv_name(pk, "path", entry->path);
    pack_kv_text(pk, "type", entry_type_name(entry->type));
    pack_kv_uint(pk, "size", entry->size);
    pack_kv_uint(pk, "mode", entry->mode);
    pack_kv_text(pk, "permissions", entry->permissions);
    pack_kv_name(pk, "owner", entry->owner);
    pack_kv_name(pk, "group", entry->group);
    pack_kv_int(pk, "modified_at", entry->modified_at);
    pack_kv_name(pk, "symlink_target", entry->symlink_target);
}

void file_pack_packed(msgpack_packer *pk, const msgpack_sbuffer *packed) {
    if (packed->size)
        msgpack_pack_str_body(pk, packed->data, packed->size);
}

static const struct {
    enum status code;
    int err;
    const char *field, *text;
} codes[] = {
    [FILES_NOT_REGULAR] = {STATUS_WRONG_TYPE, 0, "path", "not a regular file"},
    [FILES_MOUNT_POINT] = {STATUS_PERMISSION_DENIED, EBUSY, "path", "a mount point is not removed"},
    [FILES_ROOT] = {STATUS_PERMISSION_DENIED, 0, "path", "the root directory is not removed"},
    [FILES_DOT] = {STATUS_INVALID_REQUEST, EINVAL, "path", "a path that ends in . or .."},
    [FILES_SIZE] = {STATUS_INVALID_REQUEST, 0, "size", "other than as many bytes came"},
    [FILES_SHA256] = {STATUS_INVALID_REQUEST, 0, "sha256",
                      "the bytes that came have another digest"},
    [FILES_BEYOND_END] = {STATUS_INVALID_REQUEST, 0, "off", "behind the end of the file"},
    [FILES_NOT_OWNER] = {STATUS_PERMISSION_DENIED, EPERM, "mode",
                         "the file belongs to another user"},
    [FILES_NO_USER] = {STATUS_NOT_FOUND, 0, "user", "no such user or group"},
    [FILES_BAD_USER] = {STATUS_INVALID_REQUEST, 0, "user", "not name, uid, name:group or uid:gid"},
    [FILES_USER_REFUSED] = {STATUS_PERMISSION_DENIED, EPERM, "user",
                            "guestd may not act as this user"},
    [FILES_CANCELLED] = {STATUS_CANCELLED, 0, NULL, "cancelled"},
};

void file_failure(struct failure *ret, int result, const char *path) {
    if (result > 0) {
        failure_set(ret, codes[result].code, codes[result].err, codes[result].field, "%s",
                    codes[result].text);
        return;
    }
    const int err = -result;
    /* ESTALE: the tree was moved away under the walk. */
    const enum status code = err == ESTALE ? STATUS_BUSY : status_from_errno(err);
    const bool about_path =
        code != STATUS_INTERNAL && code != STATUS_LIMIT_EXCEEDED && code != STATUS_CANCELLED;
    /* A message is text: a path that is none is left out of it. */
    if (about_path && utf8_valid(path, strlen(path)))
        failure_set(ret, code, err, "path", "%s: %s", path, strerror(err));
    else
        failure_set(ret, code, err, about_path ? "path" : NULL, "%s", strerror(err));
}

void file_fail(struct call *call, int result, const char *path) {
    struct failure failure = {0};

    file_failure(&failure, result, path);
    call_fail_with(call, &failure);
}
