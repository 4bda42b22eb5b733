/* UTF-8 as RFC 3629 has it, table 3-7 of the Unicode standard: what may follow a first byte. */
#include <string.h>

#include "proto/message.h"

/* Continuation bytes that `first` asks for, and the range of the first of them; -1: can't start a
 * sequence. */
static int sequence(uint8_t first, uint8_t *ret_low, uint8_t *ret_high) {
    *ret_low = 0x80;
    *ret_high = 0xbf;
    if (first < 0x80)
        return 0;
    if (first < 0xc2) /* a continuation byte, or an overlong form of ASCII */
        return -1;
    if (first < 0xe0)
        return 1;
    if (first < 0xf0) {
        if (first == 0xe0)
            *ret_low = 0xa0; /* below is overlong */
        if (first == 0xed)
            *ret_high = 0x9f; /* above are surrogates */
        return 2;
    }
    if (first > 0xf4)
        return -1;
    if (first == 0xf0)
        *ret_low = 0x90; /* below is overlong */
    if (first == 0xf4)
        *ret_high = 0x8f; /* above is past U+10FFFF */
    return 3;
}

bool utf8_valid(const void *data, size_t len) {
    const uint8_t *at = data;
    const uint8_t *end;

    if (len == 0) /* then data may be NULL, as msgpack-c has it for an empty str */
        return true;
    end = at + len;
    while (at < end) {
        uint64_t word;
        uint8_t low, high;
        int more;

        /* Most text is ASCII, and output of 64 MiB is judged here: eight bytes at a time. */
        if (end - at >= (ptrdiff_t)sizeof(word)) {
            memcpy(&word, at, sizeof(word));
            if (!(word & UINT64_C(0x8080808080808080))) {
                at += sizeof(word);
                continue;
            }
        }
        more = sequence(*at, &low, &high);
        if (more < 0 || end - at <= more)
            return false;
        at++;
        for (; more > 0; more--, at++) {
            if (*at < low || *at > high)
                return false;
            low = 0x80;
            high = 0xbf;
        }
    }
    return true;
}

size_t utf8_trim(const void *data, size_t len) {
    const uint8_t *bytes = data;
    uint8_t low, high;

    for (size_t back = 1; back <= 3 && back <= len; back++) {
        uint8_t byte = bytes[len - back];
        int more;

        if ((byte & 0xc0) == 0x80)
            continue;
        more = sequence(byte, &low, &high);
        return more >= (int)back ? len - back : len;
    }
    return len;
}
