#include "proto/client/human.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/message.h"

size_t human_character(const char *text, size_t len) {
    unsigned char first = (unsigned char)text[0];
    size_t n = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

    return n <= len && utf8_valid(text, n) ? n : 0;
}

/* C0, DEL and C1: what a terminal obeys. */
static bool is_control(const char *text, size_t n) {
    unsigned char first = (unsigned char)text[0];

    return first < 0x20 || first == 0x7f ||
           (n == 2 && first == 0xc2 && (unsigned char)text[1] < 0xa0);
}

void human_bytes(FILE *out, struct guestproto_bytes text) {
    for (size_t i = 0; i < text.len;) {
        const char *at = text.data + i;
        size_t n = human_character(at, text.len - i);

        if (n > 0 && !is_control(at, n)) {
            fwrite(at, 1, n, out);
            i += n;
            continue;
        }
        if (*at == '\n')
            fputs("\\n", out);
        else if (*at == '\t')
            fputs("\\t", out);
        else if (*at == '\x1b')
            fputs("\\e", out);
        else
            fprintf(out, "\\x%02x", (unsigned char)*at);
        i++;
    }
}

void human_text(FILE *out, const char *text) {
    human_bytes(out, (struct guestproto_bytes){text, strlen(text)});
}

const char *human_size(uint64_t bytes, char buf[8]) {
    static const char units[] = "KMGTPE";
    double value = (double)bytes;
    int unit = -1;

    if (bytes < 1000) {
        snprintf(buf, 8, "%u", (unsigned)bytes);
        return buf;
    }
    do {
        value /= 1024;
        unit++;
    } while (value >= 1000);
    snprintf(buf, 8, value < 9.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
    return buf;
}

const char *human_duration(double seconds, char buf[HUMAN_TEXT]) {
    long long whole = seconds < 1e15 ? (long long)seconds : 0;

    if (seconds < 1)
        snprintf(buf, HUMAN_TEXT, "%.0f ms", seconds * 1000);
    else if (seconds < 60)
        snprintf(buf, HUMAN_TEXT, "%.2f s", seconds);
    else if (whole < 3600)
        snprintf(buf, HUMAN_TEXT, "%lld m %02lld s", whole / 60, whole % 60);
    else if (whole < 86400)
        snprintf(buf, HUMAN_TEXT, "%lld h %02lld m", whole / 3600, whole / 60 % 60);
    else
        snprintf(buf, HUMAN_TEXT, "%lld d %02lld h", whole / 86400, whole / 3600 % 24);
    return buf;
}

const char *human_time(int64_t unix_seconds, char buf[HUMAN_TEXT]) {
    time_t when = (time_t)unix_seconds;
    struct tm local;

    if (!localtime_r(&when, &local) || strftime(buf, HUMAN_TEXT, "%Y-%m-%d %H:%M:%S", &local) == 0)
        snprintf(buf, HUMAN_TEXT, "@%lld", (long long)unix_seconds);
    return buf;
}

bool human_colors(int fd) {
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(fd) && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
}
