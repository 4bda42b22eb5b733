#include "ops/sha256.h"

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool sha256_parse(const char *text, uint8_t out[SHA256_BYTES]) {
    for (unsigned i = 0; i < 64; i++) {
        int digit = hex_digit(text[i]);
        if (digit < 0)
            return false;
        out[i / 2] = (uint8_t)(out[i / 2] << 4 | digit);
    }
    return text[64] == '\0';
}
