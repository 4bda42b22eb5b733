/* A digest as clients write it: 64 hex digits. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SHA256_BYTES 32

bool sha256_parse(const char *text, uint8_t out[SHA256_BYTES]);
