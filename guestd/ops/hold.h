/*
 * Answers that are being made hold memory before the connection can see them. Here a call asks for
 * as much as its answer may take, and waits its turn when its own connection already holds its
 * share: one connection that asks a lot at once and takes nothing costs HOLD_CONNECTION, and makes
 * nobody else wait. All together hold HOLD_TOTAL and one answer a connection.
 */
#pragma once

#include "agent/call.h"

#define HOLD_CONNECTION (4u << 20)
#define HOLD_TOTAL (32u << 20)

struct hold_share;

/* Embedded in the operation's own struct, in the call's arena. */
struct hold {
    struct call *call; /* counted */
    uint64_t bytes;
    void (*go)(struct hold *hold);
    struct hold_share *share; /* of its connection; NULL: not counted, memory was short */
    struct hold *next;
};

/*
 * Calls `go`, at once or later, on the loop; also for a call that was cancelled meanwhile. Each go
 * is followed by one hold_release, when the memory is given back.
 */
void hold_ask(struct hold *hold, struct call *call, uint64_t bytes, void (*go)(struct hold *hold));
void hold_release(struct hold *hold);
