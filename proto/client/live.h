/*
 * A program that runs over there as if it ran here: its output to stdout and stderr, our stdin to
 * it, our terminal as its own. What exec and attach share.
 */
#pragma once

#include "proto/client/escape.h"
#include "proto/client/guestctl.h"

struct live {
    struct ctl *ctl;
    bool input;    /* stdin goes to the program */
    bool terminal; /* the program has one, of the size of ours */
    bool seek;     /* a joined run has had the beginning of our stdin */
    bool began;
    struct escape escape;
};

/* The callbacks; input and terminal are set before. */
struct guestproto_exec live_callbacks(struct live *live);

/* The terminal is given back; what a call of guestproto_exec or _attach returned comes in. Who left
 * our stdout ends us as any program in a pipeline. */
void live_end(const struct live *live, int r);
