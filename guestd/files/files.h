/*
 * What the functions of this room answer besides 0 and -errno. Each is a fact that no errno tells,
 * so callers must handle it; the wire's words for them are made elsewhere.
 */
#pragma once

enum files_code {
    FILES_NOT_REGULAR = 1, /* a device, FIFO or socket where a file is asked for */
    FILES_MOUNT_POINT,     /* not removed: something is mounted there */
    FILES_ROOT,            /* not removed: it is the root directory */
    FILES_DOT,             /* not removed: the path ends in . or .. */
    FILES_SIZE,            /* not published: more or fewer bytes than were announced */
    FILES_SHA256,          /* not published: another digest than was announced */
    FILES_BEYOND_END,      /* not written: the offset is past the end, there would be a hole */
    FILES_NOT_OWNER,       /* mode not set: the file belongs to somebody else */
    FILES_NO_USER,         /* no such user or group */
    FILES_BAD_USER,        /* not a name, uid, name:group or uid:gid */
    FILES_USER_REFUSED,    /* guestd itself may not act as that user */
    FILES_CANCELLED,       /* the caller's flag said so */
};
