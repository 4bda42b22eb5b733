/* The SHA-256 digest of a local file, FIPS 180-4, as 64 hex digits. */
#pragma once

#define SHA256_TEXT 65

/* 0 or -errno. */
int sha256_file(const char *path, char text[SHA256_TEXT]);
