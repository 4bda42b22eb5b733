#include "supervisor/note.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void note(const char *format, ...) {
    char line[512] = "guestd: ";
    size_t len = strlen(line);
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(line + len, sizeof line - len - 1, format, args);
    va_end(args);
    if (wanted < 0)
        return;
    len += (size_t)wanted < sizeof line - len - 1 ? (size_t)wanted : sizeof line - len - 2;
    line[len++] = '\n';

    /* Lines stay under PIPE_BUF, so that a writable pipe takes one whole or not at all. */
    struct pollfd writable = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&writable, 1, 0) == 1 && (writable.revents & POLLOUT) != 0) {
        ssize_t ignored = write(STDERR_FILENO, line, len);
        (void)ignored;
    }
}
