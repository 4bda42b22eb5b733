/* A supervisor's state that lies as text in tests/unit/golden, made the memfd that it describes. */
#pragma once

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define GOLDEN_MOST 16384

struct golden {
    uint8_t bytes[GOLDEN_MOST];
    size_t len;
    int32_t pid[2]; /* what pid1 and pid2 stand for */
};

static inline void golden_put(struct golden *golden, const void *bytes, size_t len, size_t size) {
    assert_true(golden->len + size <= GOLDEN_MOST && len <= size);
    if (len > 0)
        memcpy(golden->bytes + golden->len, bytes, len);
    memset(golden->bytes + golden->len + len, 0, size - len);
    golden->len += size;
}

static inline void golden_token(struct golden *golden, const char *token) {
    const char *colon = strchr(token, ':');
    size_t kind = colon != NULL ? (size_t)(colon - token) : strlen(token);
    const char *value = colon != NULL ? colon + 1 : "";
    int64_t number = (int64_t)strtoull(value, NULL, 0); /* negative ones too */
    int32_t self = getpid();
    if (strcmp(token, "self") == 0)
        golden_put(golden, &self, sizeof self, sizeof self);
    else if (strncmp(token, "pid", 3) == 0)
        golden_put(golden, &golden->pid[token[3] - '1'], 4, 4);
    else if (*token == 'z')
        golden_put(golden, NULL, 0, (size_t)number);
    else if (*token == 's')
        golden_put(golden, value, strlen(value), strtoul(token + 1, NULL, 10));
    else if (*token == 'f')
        golden_put(golden, &(double){strtod(value, NULL)}, 8, 8);
    else if (strncmp(token + 1, "16", kind - 1) == 0)
        golden_put(golden, &number, 2, 2);
    else if (strncmp(token + 1, "32", kind - 1) == 0)
        golden_put(golden, &number, 4, 4);
    else if (strncmp(token + 1, "64", kind - 1) == 0)
        golden_put(golden, &number, 8, 8);
    else
        fail_msg("what is '%s'?", token);
}

static inline void golden_read(struct golden *golden, const char *name) {
    char path[512], line[512];
    snprintf(path, sizeof path, GOLDEN "/%s.txt", name);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    golden->len = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "#\n")] = 0;
        char *rest = line;
        for (char *token; (token = strsep(&rest, " ")) != NULL;) {
            if (*token != 0)
                golden_token(golden, token);
        }
    }
    fclose(file);
}

static inline int golden_file(const void *bytes, size_t len) {
    int fd = memfd_create("golden", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
    return fd;
}
