#include "ops/hold.h"

#include <stdlib.h>

/* What one connection holds, and who waits for it; there while anybody does. */
struct hold_share {
    const void *connection;
    uint64_t bytes;
    uint32_t holds; /* let in or waiting */
    struct hold *waiting, **last;
    struct hold_share *next;
};

/* On the loop's thread, as everything here. */
static struct hold_share *shares;
static uint64_t total;

/* The name is the connection's own, so its place tells connections apart. */
static struct hold_share *share_of(struct call *call) {
    const void *connection = call_peer(call);
    struct hold_share *share = shares;

    while (share && share->connection != connection)
        share = share->next;
    if (share)
        return share;
    share = calloc(1, sizeof(*share));
    if (!share)
        return NULL;
    share->connection = connection;
    share->last = &share->waiting;
    share->next = shares;
    shares = share;
    return share;
}

static void drop_share(struct hold_share *share) {
    struct hold_share **at = &shares;

    while (*at != share)
        at = &(*at)->next;
    *at = share->next;
    free(share);
}

/* A connection's first is always let in: slow ones must not keep others from having any. */
static bool fits(const struct hold_share *share, uint64_t bytes) {
    return share->bytes == 0 ||
           (share->bytes + bytes <= HOLD_CONNECTION && total + bytes <= HOLD_TOTAL);
}

/* The next that waits and may, wherever; NULL when there is none. */
static struct hold *next_one(void) {
    for (struct hold_share *share = shares; share; share = share->next) {
        struct hold *hold = share->waiting;
        if (!hold || !fits(share, hold->bytes))
            continue;
        share->waiting = hold->next;
        if (!share->waiting)
            share->last = &share->waiting;
        return hold;
    }
    return NULL;
}

static void enter(struct hold *hold) {
    call_on_cancel(hold->call, NULL, NULL);
    hold->share->bytes += hold->bytes;
    total += hold->bytes;
    hold->go(hold);
}

/* It waits no longer: what a client cancels must not pile up. */
static void on_cancel(struct call *call, enum cancel_reason reason, void *arg) {
    struct hold *hold = arg, **at = &hold->share->waiting;

    while (*at != hold)
        at = &(*at)->next;
    *at = hold->next;
    if (!*at)
        hold->share->last = at;
    if (reason == CANCEL_BY_CLIENT)
        call_fail(call, STATUS_CANCELLED, 0, NULL, "cancelled");
    enter(hold);
}

/* Not from within itself: the go of a call that was cancelled releases at once. */
static void let_in(void) {
    static bool running;

    if (running)
        return;
    running = true;
    for (struct hold *hold = next_one(); hold; hold = next_one())
        enter(hold);
    running = false;
}

void hold_ask(struct hold *hold, struct call *call, uint64_t bytes, void (*go)(struct hold *hold)) {
    struct hold_share *share = share_of(call);

    *hold = (struct hold){.call = call_ref(call), .bytes = bytes + 1, .go = go, .share = share};
    if (!share) {
        go(hold);
        return;
    }
    share->holds++;
    *share->last = hold;
    share->last = &hold->next;
    call_on_cancel(call, on_cancel, hold);
    let_in();
}

void hold_release(struct hold *hold) {
    struct hold_share *share = hold->share;
    struct call *call = hold->call;

    if (share) {
        share->bytes -= hold->bytes;
        total -= hold->bytes;
        if (--share->holds == 0)
            drop_share(share);
    }
    call_unref(call); /* the hold is in its arena */
    let_in();
}
