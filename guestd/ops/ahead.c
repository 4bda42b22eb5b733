#include "ops/ahead.h"

#include <errno.h>

static int fill(struct work *work) {
    struct ahead *ahead = (struct ahead *)((char *)work - offsetof(struct ahead, work));
    bool last = false;

    int r = ahead->way->fill(ahead, ahead->filling, &last);
    if (r != 0 || last) {
        ahead->way->close(ahead);
        ahead->closed = true;
    }
    return r;
}

static int close_only(struct work *work) {
    struct ahead *ahead = (struct ahead *)((char *)work - offsetof(struct ahead, work));

    ahead->way->close(ahead);
    ahead->closed = true;
    return 0;
}

static void answer(struct ahead *ahead, int result) {
    if (ahead->answered)
        return;
    ahead->answered = true;
    ahead->way->answer(ahead, result);
}

static void on_closed(struct work *work, int result) {
    struct ahead *ahead = (struct ahead *)((char *)work - offsetof(struct ahead, work));

    answer(ahead, -ECANCELED);
}

static void on_filled(struct work *work, int result);

static void fill_next(struct ahead *ahead) {
    /* A connection that was lost while a part was sent has begun to close already. */
    if (ahead->working || ahead->closed || ahead->cancelled || ahead->part[ahead->filling].full)
        return;
    ahead->working = true;
    call_work_start(ahead->call, &ahead->work, fill, on_filled);
}

/* Waits for a fill under way; then closing is one more turn on the pool. */
static void stop(struct ahead *ahead) {
    if (ahead->working)
        return;
    if (ahead->closed)
        answer(ahead, -ECANCELED);
    else
        call_work_always(ahead->call, &ahead->work, close_only, on_closed);
}

static void on_filled(struct work *work, int result) {
    struct ahead *ahead = (struct ahead *)((char *)work - offsetof(struct ahead, work));

    ahead->working = false;
    if (ahead->cancelled) {
        stop(ahead);
        return;
    }
    /* A failure is told behind what was made before it. */
    ahead->result = result;
    ahead->part[ahead->filling].full = true;
    ahead->part[ahead->filling].last = ahead->closed;
    ahead->filling ^= 1;
    fill_next(ahead);
    sender_wake(&ahead->sender);
}

static bool pump(struct sender *sender) {
    struct ahead *ahead = (struct ahead *)((char *)sender - offsetof(struct ahead, sender));
    bool empty = false;

    if (!ahead->part[ahead->sending].full || ahead->answered)
        return false;
    const bool last = ahead->part[ahead->sending].last;
    if (ahead->sent_all || (last && ahead->result != 0)) {
        answer(ahead, ahead->result);
        return true;
    }
    bool sent = ahead->way->send(ahead, ahead->sending, &empty);
    if (empty && last) {
        /* The answer is the next turn's. */
        ahead->sent_all = true;
        return sent || pump(sender);
    }
    if (empty) {
        ahead->part[ahead->sending].full = false;
        ahead->sending ^= 1;
        fill_next(ahead);
    }
    return sent;
}

static void on_cancel(struct call *call, enum cancel_reason reason, void *arg) {
    struct ahead *ahead = arg;

    ahead->cancelled = true;
    stop(ahead);
}

void ahead_start(struct ahead *ahead, struct call *call, const struct ahead_way *way,
                 uint64_t window) {
    ahead->way = way;
    ahead->call = call;
    call_on_cancel(call, on_cancel, ahead);
    call_sender_start(call, &ahead->sender, pump, window);
    fill_next(ahead);
}
