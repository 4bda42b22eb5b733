/*
 * A stream that is made on the pool, one part ahead of what is being sent: two parts, one filled
 * while the other goes out, so that a slow client costs two parts of memory and no thread.
 *
 * Embedded in the operation's own struct, in the call's arena. Its functions, in the order of a
 * life: `fill` on the pool again and again until it says that a part is the last; `send` on the
 * loop; `close` on the pool, once, also after a failed or cancelled fill; `answer` on the loop,
 * once, also for a call that nobody waits for any more; then nothing.
 */
#pragma once

#include "agent/call.h"

struct ahead;

struct ahead_way {
    /* Pool: makes part 0 or 1. Returns 0 or what went wrong; *ret_last: nothing comes behind it. */
    int (*fill)(struct ahead *ahead, unsigned part, bool *ret_last);
    /* Loop: sends at most one frame of the part. Sets *ret_empty once nothing of it is left.
     * Returns whether it sent. */
    bool (*send)(struct ahead *ahead, unsigned part, bool *ret_empty);
    /* Pool: gives back what fill uses. */
    void (*close)(struct ahead *ahead);
    /* Loop: everything was sent (0), or fill's failure, or -ECANCELED; answers and frees the parts.
     */
    void (*answer)(struct ahead *ahead, int result);
};

struct ahead {
    struct sender sender;
    struct work work; /* private, like all below but `call` */
    const struct ahead_way *way;
    struct call *call;
    struct {
        bool full, last;
    } part[2];
    unsigned filling, sending;
    bool working, closed, cancelled, sent_all, answered;
    int result;
};

/* Starts it for the call, zeroed but for what is the operation's own. */
void ahead_start(struct ahead *ahead, struct call *call, const struct ahead_way *way,
                 uint64_t window);
