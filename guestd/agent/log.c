#include "agent/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static enum log_level highest = LOG_LEVEL_WARNING;

void log_init(enum log_level level) {
    highest = level;
}

void log_line(enum log_level level, const char *fmt, ...) {
    static const char *const names[] = {"error", "warning", "info", "debug"};
    char line[512];
    va_list args;
    int head, len;

    if (level > highest)
        return;
    head = snprintf(line, sizeof line, "guestd agent: %s: ", names[level]);
    va_start(args, fmt);
    len = vsnprintf(line + head, sizeof line - (size_t)head - 1, fmt, args);
    va_end(args);
    if (len < 0)
        return;
    len += head;
    if (len > (int)sizeof line - 2)
        len = (int)sizeof line - 2;
    for (char *c = line; c < line + len; c++) /* one line stays one line, whoever chose the words */
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, (size_t)len) < 0)
        return; /* nowhere left to say it */
}
