/* A frame's four bytes of length, both ways. */
#include "proto/frame.h"

#include <errno.h>

int frame_pop(const void *data, size_t len, size_t max_body, struct slice *ret_body,
              size_t *ret_need) {
    const uint8_t *bytes = data;
    size_t body_len;

    if (len < FRAME_HEADER) {
        *ret_need = FRAME_HEADER;
        return 0;
    }
    body_len = (size_t)bytes[0] << 24 | (size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3];
    if (body_len > max_body)
        return -EMSGSIZE;
    if (len - FRAME_HEADER < body_len) {
        *ret_need = FRAME_HEADER + body_len;
        return 0;
    }
    *ret_body = (struct slice){bytes + FRAME_HEADER, body_len};
    return 1;
}

void frame_header(uint8_t out[FRAME_HEADER], uint32_t body_len) {
    out[0] = (uint8_t)(body_len >> 24);
    out[1] = (uint8_t)(body_len >> 16);
    out[2] = (uint8_t)(body_len >> 8);
    out[3] = (uint8_t)body_len;
}
