/*
 * How long the loop is away: from the moment that poll returned to the moment it polls again nobody
 * else is served. A histogram in powers of two, kept without a single wake-up of its own.
 */
#pragma once

#include <stdint.h>
#include <uv.h>

struct lag {
    uv_prepare_t prepare;
    uv_check_t check;
    uint64_t woke_ns;
    uint64_t rounds;
    uint64_t bucket[40]; /* [i]: rounds of less than 2^i µs */
};

void lag_init(struct lag *lag, uv_loop_t *loop);
/* The bound in µs under which that share (0 … 1) of all rounds stayed. */
uint64_t lag_quantile(const struct lag *lag, double share);
void lag_close(struct lag *lag);
