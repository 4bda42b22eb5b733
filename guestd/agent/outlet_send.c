/* One piece of output at a time: a gap, bytes right from the store, or a copy of them. */
#include "agent/job_table.h"
#include "agent/outlet.h"

#define COPY_MAX (256u << 10)
/* Of the ring. The fewer acknowledgements, the fewer wake-ups; the pipe has room meanwhile. */
#define ACK_PART 4

uint64_t outlet_end(const struct outlet *outlet, unsigned c, bool *ret_final) {
    const struct view *view = &outlet->job->view;

    *ret_final = outlet->exited || view_eof(view, c); /* asked before the end is read */
    return outlet->exited ? outlet->last[c] : view_end(view, c);
}

/*
 * Sent is not taken: what lies in sockets is lost with the agent. A client that credits what it has
 * taken says so; until then up to half of the ring stays. (Credit counts both channels together: it
 * is held against each.)
 */
void outlet_taken(const struct outlet *outlet, uint64_t ret[2]) {
    uint64_t credit = call_credit_left(outlet->sender.call);
    uint64_t open = outlet->window > credit ? outlet->window - credit : 0;

    for (unsigned c = 0; c < 2; c++) {
        uint64_t half = view_size(&outlet->job->view, c) / 2;
        uint64_t held = open < half ? open : half;

        ret[c] = outlet->sent[c] > held ? outlet->sent[c] - held : 0;
    }
}

static void acknowledge(const struct outlet *outlet, unsigned c) {
    struct job *job = outlet->job;
    uint64_t taken[2];

    outlet_taken(outlet, taken);
    if (taken[c] >= job->bell.acked[c] + view_size(&job->view, c) / ACK_PART)
        bell_acknowledge(job, taken);
}

static void send_gap(struct outlet *outlet, unsigned c, uint64_t to) {
    uint64_t from = outlet->sent[c];

    outlet->sent[c] = to;
    outlet->gapped = true;
    if (outlet->job->opener == outlet)
        outlet->job->gapped = true;
    call_send_gap(outlet->sender.call, job_channel(outlet->job, c), from, to);
}

/* Nothing is overwritten before it is acknowledged: right from the mapping. */
static void send_stable(struct outlet *outlet, unsigned c, uint64_t end, size_t most) {
    struct slice bytes = view_peek(&outlet->job->view, c, outlet->sent[c], end);
    uint64_t from = outlet->sent[c];

    if (bytes.len > most)
        bytes.len = most;
    outlet->sent[c] += bytes.len;
    call_send_data(outlet->sender.call, job_channel(outlet->job, c), from, bytes.data, bytes.len);
}

/* The supervisor may overwrite it under us: copied out, and only what held is sent. */
static void send_copied(struct outlet *outlet, unsigned c, uint64_t end, size_t most) {
    static uint8_t copy[COPY_MAX]; /* one loop, one pump at a time */
    uint64_t from = outlet->sent[c], holds;
    size_t len = end - from < most ? (size_t)(end - from) : most;

    len = len < COPY_MAX ? len : COPY_MAX;
    holds = view_copy(&outlet->job->view, c, from, copy, len);
    if (holds > from)
        send_gap(outlet, c, holds);
    if (holds == from + len || !outlet->job)
        return;
    outlet->sent[c] = from + len;
    call_send_data(outlet->sender.call, job_channel(outlet->job, c), holds, copy + (holds - from),
                   (size_t)(from + len - holds));
}

bool outlet_holds(const struct outlet *outlet) {
    return outlet->job->opener == outlet && !outlet->job->detached;
}

/* The next byte at or after `sent` that can still be read. */
static uint64_t next_kept(const struct outlet *outlet, unsigned c, uint64_t end) {
    const struct view *view = &outlet->job->view;
    uint64_t from = outlet->sent[c], oldest = view_oldest(view, c);

    if (view_keeps_head(view, c) && from >= view_size(view, c))
        return end;
    if (oldest <= from)
        return from;
    return oldest < end ? oldest : end;
}

static bool advance(struct outlet *outlet, unsigned c) {
    const struct view *view = &outlet->job->view;
    bool final;
    uint64_t end = outlet_end(outlet, c, &final), kept;
    size_t window;

    if (outlet->sent[c] >= end)
        return false;
    window = call_window(outlet->sender.call);
    kept = next_kept(outlet, c, end);
    if (window == 0 && outlet->released)
        kept = end;
    /* A gap needs no credit, but it would only grow while there is none. */
    outlet->starved = window == 0 && (!outlet->exited || kept == outlet->sent[c]);
    if (outlet->starved)
        return false;
    if (kept > outlet->sent[c]) {
        send_gap(outlet, c, kept);
        return true;
    }
    if (view_keeps_head(view, c) && end > view_size(view, c))
        end = view_size(view, c);
    /* Of one that was taken over, nobody here knows whether it was let go of meanwhile. */
    if (outlet_holds(outlet) && !outlet->job->taken_over)
        send_stable(outlet, c, end, window);
    else
        send_copied(outlet, c, end, window);
    if (outlet->job && outlet_holds(outlet)) /* it may be lost by now */
        acknowledge(outlet, c);
    return true;
}

bool outlet_send(struct outlet *outlet) {
    outlet->starved = false;
    for (unsigned i = 0; i < 2; i++) {
        unsigned c = outlet->turn;

        outlet->turn = !c;
        if (advance(outlet, c))
            return true;
    }
    return false;
}
