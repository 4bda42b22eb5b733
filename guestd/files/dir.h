/*
 * Reading a directory (getdents64(2)) in 32 KiB steps, with a place to go on from after its fd was
 * given back.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct dir {
    int fd;           /* owned; -1 while suspended */
    uint8_t *buffer;  /* NULL until the first read */
    uint32_t at, len; /* what of it is unread */
    int64_t next;     /* the kernel's place behind the last name that was given */
};

/* Starts reading `fd`, which it owns from here. */
void dir_init(struct dir *dir, int fd);
/* Repeatable. */
void dir_deinit(struct dir *dir);

/* The next name, without . and ..; it is valid until the next call. `type` is DT_DIR … or
 * DT_UNKNOWN. Returns 1, 0 at the end, or -errno. */
int dir_next(struct dir *dir, const char **ret_name, unsigned char *ret_type);

/* From the first name again. Returns 0 or -errno. */
int dir_rewind(struct dir *dir);

/* Gives fd and buffer back until dir_resume, which goes on behind the last name with a new fd of
 * the same directory. */
void dir_suspend(struct dir *dir);
int dir_resume(struct dir *dir, int fd);
