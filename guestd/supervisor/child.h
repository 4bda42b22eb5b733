/*
 * The child's half of a birth: from clone to exec. It runs in memory that it shares with the
 * supervisor, so it calls only what is safe there, in an order where each step still has the
 * privilege it needs.
 */
#pragma once

#include <stdint.h>

#include "supervisor/birth.h"
#include "supervisor/spec.h"

struct child {
    const struct birth *birth;
    const struct spec *spec;
    int stdio[3];
    int join;   /* cgroup directory to move to before anything else; -1: born in it, or none */
    int report; /* where a failure is written as struct child_failure; -1: straight into `failure`
                 */
    struct child_failure {
        int32_t err; /* positive errno; 0: none */
        uint32_t stage;
    } failure;
};

/* Does not return. */
void child_run(void *child);
