#include "agent/tag.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "proto/message.h"

bool tag_valid(const char *tag) {
    size_t len = strnlen(tag, TAG_MAX + 1);
    const unsigned char *at = (const unsigned char *)tag;

    if (len == 0 || len > TAG_MAX || !utf8_valid(tag, len))
        return false;
    if (strspn(tag, "0123456789") == len)
        return false;
    for (; *at; at++) {
        if (*at < 0x20 || *at == 0x7f)
            return false;
        if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0) /* U+0080 … U+009F */
            return false;
    }
    return true;
}

int tag_make(char out[TAG_MADE_SIZE]) {
    uint32_t random;
    ssize_t n;

    do
        n = getrandom(&random, sizeof(random), 0);
    while (n < 0 && errno == EINTR);
    if (n != sizeof(random))
        return n < 0 ? -errno : -EIO;
    snprintf(out, TAG_MADE_SIZE, "bg-%08x", random);
    return 0;
}
