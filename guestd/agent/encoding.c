#include "agent/encoding.h"

#include <string.h>

#include "proto/message.h"

#define REPLACEMENT "\xef\xbf\xbd"
#define BASE64_BLOCK 3072 /* input bytes at a time: whole groups of three */

const char *const encoding_names[] = {"auto", "utf-8", "base64", "raw", NULL};

static bool is_continuation(uint8_t byte) {
    return (byte & 0xc0) == 0x80;
}

/* Takes off what a cut left of a sequence. Only as many continuation bytes as a sequence can have:
 * more are no cut. */
static void trim(struct captured *stream) {
    if (stream->cut_before) {
        size_t n = 0;

        while (n < 3 && n < stream->len && is_continuation(stream->data[n]))
            n++;
        stream->data += n;
        stream->len -= n;
    }
    if (stream->cut_after)
        stream->len = utf8_trim(stream->data, stream->len);
}

enum encoding encoding_decide(enum encoding wanted, struct captured stream[2]) {
    struct captured text[2] = {stream[0], stream[1]};

    if (wanted != ENCODING_AUTO && wanted != ENCODING_UTF8)
        return wanted;
    trim(&text[0]);
    trim(&text[1]);
    if (wanted == ENCODING_AUTO &&
        !(utf8_valid(text[0].data, text[0].len) && utf8_valid(text[1].data, text[1].len)))
        return ENCODING_BASE64;
    stream[0] = text[0];
    stream[1] = text[1];
    return ENCODING_UTF8;
}

/*
 * One step through bytes that may not be text: how many bytes belong together, and whether they are
 * a character. A bad part is as long as it could still have become a character (Unicode, "U+FFFD
 * substitution of maximal subparts").
 */
static size_t step(const uint8_t *at, size_t len, bool *ret_valid) {
    uint8_t low = 0x80, high = 0xbf;
    size_t want, have = 1;

    *ret_valid = false;
    if (at[0] < 0x80)
        want = 1;
    else if (at[0] < 0xc2)
        return 1;
    else if (at[0] < 0xe0)
        want = 2;
    else if (at[0] < 0xf0)
        want = 3;
    else if (at[0] < 0xf5)
        want = 4;
    else
        return 1;
    switch (at[0]) { /* overlong forms, surrogates, past U+10FFFF */
    case 0xe0:
        low = 0xa0;
        break;
    case 0xed:
        high = 0x9f;
        break;
    case 0xf0:
        low = 0x90;
        break;
    case 0xf4:
        high = 0x8f;
        break;
    default:
        break;
    }
    for (; have < want; have++, low = 0x80, high = 0xbf)
        if (have == len || at[have] < low || at[have] > high)
            return have;
    *ret_valid = true;
    return have;
}

/* Walks the bytes as runs of valid text and bad parts. With pk NULL it only counts. Returns the
 * text's length. */
static uint64_t replace(msgpack_packer *pk, struct slice bytes) {
    uint64_t out = 0;
    size_t run = 0;

    for (size_t at = 0; at < bytes.len;) {
        bool valid;
        size_t n = step(bytes.data + at, bytes.len - at, &valid);

        if (!valid) {
            if (pk) {
                msgpack_pack_str_body(pk, bytes.data + run, at - run);
                msgpack_pack_str_body(pk, REPLACEMENT, 3);
            }
            out += 3;
            run = at + n;
        } else {
            out += n;
        }
        at += n;
    }
    if (pk && run < bytes.len)
        msgpack_pack_str_body(pk, bytes.data + run, bytes.len - run);
    return out;
}

static uint64_t base64_size(uint64_t len) {
    return (len + 2) / 3 * 4;
}

/* RFC 4648, section 4, with padding. Returns the bytes written. */
static size_t base64(char *out, const uint8_t *in, size_t len) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *at = out;

    for (; len >= 3; in += 3, len -= 3) {
        uint32_t group = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];

        *at++ = digit[group >> 18];
        *at++ = digit[group >> 12 & 63];
        *at++ = digit[group >> 6 & 63];
        *at++ = digit[group & 63];
    }
    if (len > 0) {
        uint32_t group = (uint32_t)in[0] << 16 | (len > 1 ? (uint32_t)in[1] << 8 : 0);

        *at++ = digit[group >> 18];
        *at++ = digit[group >> 12 & 63];
        *at++ = len > 1 ? digit[group >> 6 & 63] : '=';
        *at++ = '=';
    }
    return (size_t)(at - out);
}

static void pack_base64(msgpack_packer *pk, struct slice bytes) {
    char block[BASE64_BLOCK / 3 * 4];

    msgpack_pack_str(pk, base64_size(bytes.len));
    for (size_t at = 0; at < bytes.len; at += BASE64_BLOCK) {
        size_t n = bytes.len - at < BASE64_BLOCK ? bytes.len - at : BASE64_BLOCK;

        msgpack_pack_str_body(pk, block, base64(block, bytes.data + at, n));
    }
}

uint64_t encoding_size(enum encoding encoding, struct slice bytes) {
    if (encoding == ENCODING_BASE64)
        return base64_size(bytes.len);
    if (encoding == ENCODING_UTF8 && !utf8_valid(bytes.data, bytes.len))
        return replace(NULL, bytes);
    return bytes.len;
}

uint64_t encoding_fits(enum encoding encoding, uint64_t room) {
    if (encoding == ENCODING_RAW)
        return room;
    /* One bad byte becomes three; text can turn out to be base64. */
    return encoding == ENCODING_UTF8 ? room / 3 : room / 4 * 3;
}

void encoding_pack(msgpack_packer *pk, enum encoding encoding, struct slice bytes) {
    switch (encoding) {
    case ENCODING_RAW:
        pack_bytes(pk, bytes.data, bytes.len);
        break;
    case ENCODING_BASE64:
        pack_base64(pk, bytes);
        break;
    default:
        msgpack_pack_str(pk, encoding_size(ENCODING_UTF8, bytes));
        replace(pk, bytes);
    }
}
