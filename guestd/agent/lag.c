#include "agent/lag.h"

#include <string.h>

static void on_check(uv_check_t *check) {
    struct lag *lag = check->data;

    lag->woke_ns = uv_hrtime();
}

static void on_prepare(uv_prepare_t *prepare) {
    struct lag *lag = prepare->data;
    uint64_t us;
    unsigned i = 0;

    if (lag->woke_ns == 0)
        return;
    us = (uv_hrtime() - lag->woke_ns) / 1000;
    while (us >= (uint64_t)1 << i && i < sizeof lag->bucket / sizeof *lag->bucket - 1)
        i++;
    lag->bucket[i]++;
    lag->rounds++;
}

void lag_init(struct lag *lag, uv_loop_t *loop) {
    memset(lag, 0, sizeof *lag);
    uv_prepare_init(loop, &lag->prepare);
    uv_check_init(loop, &lag->check);
    lag->prepare.data = lag->check.data = lag;
    uv_prepare_start(&lag->prepare, on_prepare);
    uv_check_start(&lag->check, on_check);
    uv_unref((uv_handle_t *)&lag->prepare);
    uv_unref((uv_handle_t *)&lag->check);
}

uint64_t lag_quantile(const struct lag *lag, double share) {
    uint64_t want = (uint64_t)(share * (double)lag->rounds), seen = 0;
    unsigned i = 0;

    for (; i < sizeof lag->bucket / sizeof *lag->bucket - 1; i++) {
        seen += lag->bucket[i];
        if (seen >= want)
            break;
    }
    return (uint64_t)1 << i;
}

void lag_close(struct lag *lag) {
    uv_close((uv_handle_t *)&lag->prepare, NULL);
    uv_close((uv_handle_t *)&lag->check, NULL);
}
