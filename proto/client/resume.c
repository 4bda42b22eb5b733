/*
 * Back to the guest after a lost connection. A new agent answers within 100 ms or so; one that
 * closes what it has just accepted is asked more and more slowly.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "proto/client/request.h"

#define PAUSE_MS 10
#define PAUSE_MAX_MS 500

bool resume_possible(const struct guestproto *client) {
    return client->options.resume_ms > 0 && client->address &&
           strncmp(client->address, "fd:", 3) != 0;
}

/* What a guest or a host says that is about to come back. */
static bool passes(const struct guestproto *client, int r) {
    switch (r) {
    case GUESTPROTO_BUSY:
    case GUESTPROTO_LIMIT_EXCEEDED:
        return true;
    case -EPROTO:
    case -EINVAL:
    case -ENOMEM:
        return false;
    default:
        return r < 0;
    }
}

static int64_t pause_of(unsigned fruitless) {
    int64_t ms = PAUSE_MS;

    while (fruitless-- > 0 && ms < PAUSE_MAX_MS)
        ms *= 2;
    return ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS;
}

/* Which guestd of which boot this is; "": it did not say. */
struct identity {
    char boot_id[64], instance[64];
};

static void copy_text(const struct guestproto *client, const char *key, char out[64]) {
    struct guestproto_bytes text = {"", 0};

    guestproto_get_bytes(guestproto_hello(client), key, &text);
    snprintf(out, 64, "%.*s", (int)(text.len < 64 ? text.len : 63), text.data);
}

static struct identity identify(const struct guestproto *client) {
    struct identity identity;

    copy_text(client, "boot_id", identity.boot_id);
    copy_text(client, "instance", identity.instance);
    return identity;
}

static bool differ(const char *before, const char *after) {
    return before[0] && after[0] && strcmp(before, after) != 0;
}

static int give_up(struct guestproto *client) {
    char why[sizeof(client->error.message)];

    snprintf(why, sizeof(why), "%s", client->error.message);
    return error_fatal(client, ECONNRESET,
                       "the connection was lost, and not found again within %d ms: %.300s",
                       client->options.resume_ms, why);
}

int resume_connect(struct request *request, unsigned fruitless) {
    struct guestproto *client = request->client;
    int64_t deadline = wire_now_ms() + client->options.resume_ms, left;
    int64_t pause_ms = pause_of(fruitless);
    struct identity before = identify(client), after;
    int r;

    if (deadline > request->deadline_ms)
        deadline = request->deadline_ms;
    for (;;) {
        left = deadline - wire_now_ms();
        if (atomic_load(&client->cancel) && !request->ask->again->persists)
            return error_set(client, ECANCELED, "cancelled while the connection was lost");
        if (left <= 0)
            return give_up(client);
        poll(NULL, 0, (int)(pause_ms < left ? pause_ms : left));
        left = deadline - wire_now_ms();
        r = client_connect(client, left > 1 ? (int)left : 1);
        if (r == 0)
            break;
        if (!passes(client, r))
            return r;
        pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
    }
    /* One that was started anew knows neither programs nor keys: what was run would run again. */
    after = identify(client);
    if (differ(before.boot_id, after.boot_id) || differ(before.instance, after.instance))
        return error_fatal(client, ESTALE,
                           "the connection was lost, and the guest was started anew since");
    return 0;
}
