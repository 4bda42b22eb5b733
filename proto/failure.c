/* What goes to the client when something was wrong. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/fields.h"
#include "proto/message.h"

/* Makes a buffer that was cut at its end, or quotes a file name, the valid UTF-8 that the wire asks
 * for. */
static void make_text(char *text) {
    size_t len = utf8_trim(text, strlen(text));

    text[len] = '\0';
    if (utf8_valid(text, len))
        return;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] >= 0x80)
            text[i] = '?';
}

int failure_set(struct failure *failure, enum status code, int err, const char *field,
                const char *fmt, ...) {
    va_list args;

    failure->code = code;
    failure->err = err < 0 ? -err : err;
    snprintf(failure->field, sizeof(failure->field), "%s", field ? field : "");
    make_text(failure->field);
    va_start(args, fmt);
    vsnprintf(failure->message, sizeof(failure->message), fmt, args);
    va_end(args);
    make_text(failure->message);
    return (int)code;
}
