#include "proto/client/escape.h"

#include <string.h>

size_t escape_filter(struct escape *escape, char *typed, size_t len) {
    char *out = typed;
    const char *in = typed + 1;

    /* One to the right, so that a tilde that was held back has room before the first byte. */
    memmove(typed + 1, typed, len);
    for (; len > 0 && !escape->out; len--) {
        char key = *in++;

        if (escape->tilde) {
            escape->tilde = false;
            if (key == '.') {
                escape->out = true;
                break;
            }
            *out++ = '~';
            escape->middle = true;
            if (key == '~')
                continue;
        } else if (key == '~' && !escape->middle) {
            escape->tilde = true;
            continue;
        }
        *out++ = key;
        escape->middle = key != '\r' && key != '\n';
    }
    return (size_t)(out - typed);
}
