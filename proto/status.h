/* The error codes of the wire (PROTOCOL.md, "Errors"): one enum, its names, and the way from errno.
 */
#pragma once

enum status {
    STATUS_OK = 0,
    STATUS_INVALID_REQUEST,
    STATUS_WRONG_TYPE,
    STATUS_UNAUTHENTICATED,
    STATUS_PERMISSION_DENIED,
    STATUS_NOT_FOUND,
    STATUS_ALREADY_EXISTS,
    STATUS_BUSY,
    STATUS_TOO_LARGE,
    STATUS_LIMIT_EXCEEDED,
    STATUS_CANCELLED,
    STATUS_INTERNAL,
    STATUS_UNSUPPORTED,
    STATUS_TIMEOUT,
    STATUS_NO_SPACE,
    STATUS_MAX_,
};

/* "invalid_request", …; never NULL. */
const char *status_name(enum status status);

/* The status of that name; STATUS_INTERNAL for one that is not known (a newer peer's). */
enum status status_from_name(const char *name);

/* The status that stands for an errno value (positive or negative): ENOENT → not_found, ENOTDIR →
 * wrong_type, … */
enum status status_from_errno(int err);

/* The HTTP status a host agent answers with. */
int status_http(enum status status);
