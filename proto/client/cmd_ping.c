/* ping: is it there, and how far away. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "proto/client/commands.h"
#include "proto/client/human.h"
#include "proto/client/json.h"

enum { KEY_NO_TOUCH = 256 };

static const struct option_row options[] = {
    {'c', "count", "N", "How often; otherwise once.", false},
    {'i', "interval", "SECONDS", "Between two of them; otherwise 1.", false},
    {KEY_NO_TOUCH, "no-touch", NULL, "Don't count as activity of the capsule.", false},
    {0},
};

struct round_trips {
    int64_t n;
    double least, most, sum; /* ms */
};

static double now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void count(struct round_trips *trips, double ms) {
    if (trips->n == 0 || ms < trips->least)
        trips->least = ms;
    if (ms > trips->most)
        trips->most = ms;
    trips->sum += ms;
    trips->n++;
}

static int ping_once(struct ctl *ctl, bool touch, struct round_trips *trips) {
    struct guestproto_params *params = ctl_params();
    struct guestproto_reply reply = {0};
    double start, ms, uptime = 0;
    char text[HUMAN_TEXT];
    int r;

    guestproto_put_bool(params, "touch", touch);
    start = now_ms();
    r = guestproto_call(ctl->client, "ping", params, &reply);
    ms = now_ms() - start;
    guestproto_params_free(params);
    if (r != 0)
        return ctl_failed(ctl, r);
    count(trips, ms);
    guestproto_get_number(&reply.result, "uptime_ms", &uptime);
    if (ctl->json)
        json_print(&reply.result);
    else
        printf("pong from %s: time=%.3f ms, up %s\n", ctl->address, ms,
               human_duration(uptime / 1000, text));
    fflush(stdout);
    guestproto_reply_free(&reply);
    return EXIT_DONE;
}

static int run(struct ctl *ctl) {
    struct round_trips trips = {0};
    const char *argument;
    double interval = 1;
    int64_t times = 1;
    bool touch = true;
    int key, r;

    while ((key = options_next(ctl, &argument)) != 0) {
        if (key < 0)
            return ctl->exit_code;
        if (key == 'c' && !options_int(ctl, "--count", argument, 1, INT32_MAX, &times))
            return EXIT_OWN;
        if (key == 'i' && !options_seconds(ctl, "--interval", argument, &interval))
            return EXIT_OWN;
        if (key == KEY_NO_TOUCH)
            touch = false;
    }
    if (!options_operands(ctl, 0, 0))
        return EXIT_OWN;
    r = ctl_connect(ctl);
    for (int64_t i = 0; r == 0 && i < times; i++) {
        struct timespec pause = {(time_t)interval,
                                 (long)((interval - (double)(time_t)interval) * 1e9)};

        /* Interrupted: Ctrl-C ends the pings, not their summary. */
        if (i > 0 && nanosleep(&pause, NULL) < 0 && errno == EINTR)
            break;
        r = ping_once(ctl, touch, &trips);
    }
    if (times > 1 && trips.n > 0 && !ctl->json)
        printf("%lld answered: least %.3f ms, mean %.3f ms, most %.3f ms\n", (long long)trips.n,
               trips.least, trips.sum / (double)trips.n, trips.most);
    return r;
}

const struct command cmd_ping = {
    .name = "ping",
    .group = GROUP_CAPSULE,
    .usage = "[-c N] [-i SECONDS]",
    .summary = "ask guestd for a sign of life",
    .options = options,
    .run = run,
};
