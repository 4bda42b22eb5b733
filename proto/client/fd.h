/* Writing all of it. */
#pragma once

#include <stddef.h>

/* Writes everything to a blocking or non-blocking fd. 0 or -errno, with some of it written. */
int fd_write_all(int fd, const void *data, size_t len);
