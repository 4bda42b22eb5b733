/* One row a code; one row an errno. */
#include "proto/status.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static const struct {
    const char *name;
    int http;
} table[STATUS_MAX_] = {
    [STATUS_OK] = {"ok", 200},
    [STATUS_INVALID_REQUEST] = {"invalid_request", 400},
    [STATUS_WRONG_TYPE] = {"wrong_type", 400},
    [STATUS_UNAUTHENTICATED] = {"unauthenticated", 401},
    [STATUS_PERMISSION_DENIED] = {"permission_denied", 403},
    [STATUS_NOT_FOUND] = {"not_found", 404},
    [STATUS_ALREADY_EXISTS] = {"already_exists", 409},
    [STATUS_BUSY] = {"busy", 409},
    [STATUS_TOO_LARGE] = {"too_large", 413},
    [STATUS_LIMIT_EXCEEDED] = {"limit_exceeded", 429},
    [STATUS_CANCELLED] = {"cancelled", 499},
    [STATUS_INTERNAL] = {"internal", 500},
    [STATUS_UNSUPPORTED] = {"unsupported", 501},
    [STATUS_TIMEOUT] = {"timeout", 504},
    [STATUS_NO_SPACE] = {"no_space", 507},
};

static enum status known(enum status status) {
    return (unsigned)status < STATUS_MAX_ ? status : STATUS_INTERNAL;
}

const char *status_name(enum status status) {
    return table[known(status)].name;
}

int status_http(enum status status) {
    return table[known(status)].http;
}

enum status status_from_name(const char *name) {
    /* "ok" is no code of the wire: an error that says so is a peer's bug. */
    for (int i = STATUS_OK + 1; i < STATUS_MAX_; i++)
        if (strcmp(table[i].name, name) == 0)
            return (enum status)i;
    return STATUS_INTERNAL;
}

enum status status_from_errno(int err) {
    switch (err < 0 ? -err : err) {
    case 0:
        return STATUS_OK;
    case EINVAL:
    case ENAMETOOLONG:
    case EILSEQ:
        return STATUS_INVALID_REQUEST;
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENOEXEC:
    case ENXIO: /* open of a socket, or of a fifo that nobody reads */
    case ENODEV:
        return STATUS_WRONG_TYPE;
    case EACCES:
    case EPERM:
    case EROFS:
        return STATUS_PERMISSION_DENIED;
    case ENOENT:
    case ESRCH:
        return STATUS_NOT_FOUND;
    case EEXIST:
        return STATUS_ALREADY_EXISTS;
    case EBUSY:
    case ETXTBSY:
    case ENOTEMPTY: /* somebody fills the directory that is being removed */
        return STATUS_BUSY;
    case E2BIG:
    case EOVERFLOW:
        return STATUS_TOO_LARGE;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN: /* of a spawn: RLIMIT_NPROC or pids.max */
        return STATUS_LIMIT_EXCEEDED;
    case ECANCELED:
        return STATUS_CANCELLED;
    case ENOSYS:
    case EOPNOTSUPP:
    case EAFNOSUPPORT:
        return STATUS_UNSUPPORTED;
    case ETIMEDOUT:
        return STATUS_TIMEOUT;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return STATUS_NO_SPACE;
    default:
        return STATUS_INTERNAL;
    }
}
