/*
 * One operation of the protocol: a params table, the struct it fills, and what runs.
 *
 * Adding one is a file in this folder with a `const struct op op_NAME` and its name in meson.build;
 * dispatch finds it there. `run` gets params that live in the call's arena, as long as the call.
 */
#pragma once

#include <stddef.h>

#include "proto/fields.h"

struct call;

enum op_flags {
    OP_ANONYMOUS = 1 << 0,  /* answered before `hello` has shown the token */
    OP_WHILE_BUSY = 1 << 1, /* taken while guestd is shutting down or before `resume` */
};

struct op {
    const char *name;
    const struct field *fields;
    size_t params_size;
    void (*run)(struct call *call, const void *params);
    unsigned flags;
};
