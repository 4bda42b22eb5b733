/* Tags: the names that clients give to processes. */
#pragma once

#include <stdbool.h>

#define TAG_MAX 128
#define TAG_MADE_SIZE sizeof("bg-01234567")

/* 1 … 128 bytes of UTF-8 without control characters (Unicode's Cc), not digits only: those would
 * look like a pid. */
bool tag_valid(const char *tag);

/* "bg-" and 8 random hex digits. Returns 0 or -errno. */
int tag_make(char out[TAG_MADE_SIZE]);
