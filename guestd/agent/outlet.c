#include "agent/outlet.h"

#include "agent/agent.h"
#include "agent/job_table.h"
#include "agent/link.h"

#define COPY_MAX (256u << 10)
/* Of the ring. The fewer acknowledgements, the fewer wake-ups; the pipe has room meanwhile. */
#define ACK_PART 4

static const char *name(const struct outlet *outlet, unsigned c) {
    return job_has_terminal(outlet->job) ? "pty" : c ? "stderr" : "stdout";
}

static struct outlet *outlet_of(struct sender *sender) {
    return (struct outlet *)((char *)sender - offsetof(struct outlet, sender));
}

/* Where a channel ends as far as is known, and whether that is final. */
static uint64_t end_of(const struct outlet *outlet, unsigned c, bool *ret_final) {
    const struct view *view = &outlet->job->view;

    *ret_final = outlet->exited || view_eof(view, c); /* asked before the end is read */
    return outlet->exited ? outlet->last[c] : view_end(view, c);
}

static bool complete(const struct outlet *outlet, unsigned c) {
    bool final;

    return outlet->sent[c] == end_of(outlet, c, &final) && final;
}

/* Acknowledges what was sent; `arm`: and asks for the doorbell. */
static void look(struct outlet *outlet, bool arm) {
    struct job *job = outlet->job;
    struct link_look message = {.h = {LINK_LOOK, sizeof(message)}, .job = job->id};

    for (unsigned c = 0; c < 2; c++) {
        message.acked[c] = message.seen[c] = outlet->acked[c] = outlet->sent[c];
        if (complete(outlet, c))
            message.flags |= c ? LINK_LOOK_EOF_SEEN_1 : LINK_LOOK_EOF_SEEN_0;
    }
    /* Each look says it anew: one that only acknowledges must not take back a doorbell that is
     * waited for. */
    outlet->armed |= arm;
    if (outlet->armed)
        message.flags |= LINK_LOOK_ARM;
    link_send(job->jobs->agent->link, &message, NULL, 0);
}

static void send_gap(struct outlet *outlet, unsigned c, uint64_t to) {
    call_send_gap(outlet->sender.call, name(outlet, c), outlet->sent[c], to);
    outlet->sent[c] = to;
    if (outlet->opener)
        outlet->job->gapped = true;
}

/* Nothing is overwritten before it is acknowledged: right from the mapping. */
static void send_stable(struct outlet *outlet, unsigned c, uint64_t end, size_t most) {
    const struct view *view = &outlet->job->view;
    struct slice bytes = view_peek(view, c, outlet->sent[c], end);

    if (bytes.len > most)
        bytes.len = most;
    call_send_data(outlet->sender.call, name(outlet, c), outlet->sent[c], bytes.data, bytes.len);
    outlet->sent[c] += bytes.len;
    if (outlet->sent[c] - outlet->acked[c] >= view_size(view, c) / ACK_PART)
        look(outlet, false);
}

/* The supervisor may overwrite it under us: copied out, and only what held is sent. */
static void send_copied(struct outlet *outlet, unsigned c, uint64_t end, size_t most) {
    static uint8_t copy[COPY_MAX]; /* one loop, one pump at a time */
    const struct view *view = &outlet->job->view;
    uint64_t oldest = view_oldest(view, c), from, holds;
    size_t len;

    if (oldest > outlet->sent[c]) {
        send_gap(outlet, c, oldest < end ? oldest : end);
        return;
    }
    from = outlet->sent[c];
    len = end - from < most ? (size_t)(end - from) : most;
    len = len < COPY_MAX ? len : COPY_MAX;
    holds = view_copy(view, c, from, copy, len);
    if (holds > from)
        send_gap(outlet, c, holds);
    if (holds == from + len)
        return;
    call_send_data(outlet->sender.call, name(outlet, c), holds, copy + (holds - from),
                   (size_t)(from + len - holds));
    outlet->sent[c] = from + len;
}

/* Sends something of one channel; false: there is nothing, or no credit for it. */
static bool advance(struct outlet *outlet, unsigned c) {
    bool final;
    uint64_t end = end_of(outlet, c, &final);
    size_t window;

    if (outlet->sent[c] == end)
        return false;
    window = call_window(outlet->sender.call);
    if (window == 0) {
        outlet->starved = !outlet->exited || !outlet->released;
        if (outlet->starved)
            return false;
        send_gap(outlet, c, end);
    } else if (outlet->opener && !outlet->job->detached) {
        send_stable(outlet, c, end, window);
    } else {
        send_copied(outlet, c, end, window);
    }
    return true;
}

/* The ends come after the data of both. */
static bool send_ends(struct outlet *outlet) {
    if (outlet->ended || !complete(outlet, 0) || !complete(outlet, 1))
        return false;
    outlet->ended = true;
    for (unsigned c = 0; c < (job_has_terminal(outlet->job) ? 1 : 2); c++)
        call_send_end(outlet->sender.call, name(outlet, c), outlet->sent[c]);
    return true;
}

static bool send_next(struct outlet *outlet) {
    outlet->starved = false;
    for (unsigned i = 0; i < 2; i++) {
        unsigned c = outlet->next;

        outlet->next = !c;
        if (advance(outlet, c))
            return true;
    }
    if (send_ends(outlet))
        return true;
    if (outlet->exited && outlet->ended) {
        /* Descendants that hold the pipes go on, with nobody to wait for. */
        if (!view_eof(&outlet->job->view, 0) || !view_eof(&outlet->job->view, 1))
            job_detach(outlet->job);
        outlet->done(outlet);
        return true;
    }
    /* What came since it was looked for rings at once. Without credit nobody needs to know. */
    if (!outlet->exited && !outlet->armed && !outlet->starved)
        look(outlet, true);
    return false;
}

static bool pump(struct sender *sender) {
    struct outlet *outlet = outlet_of(sender);
    struct job *job = job_ref(outlet->job);
    bool sent = send_next(outlet); /* a lost connection lets go of the job under way */

    job_unref(job);
    return sent;
}

void outlet_start(struct outlet *outlet, struct call *call, struct job *job, uint64_t window,
                  void (*done)(struct outlet *outlet)) {
    outlet->job = job;
    outlet->opener = true;
    outlet->done = done;
    call_sender_start(call, &outlet->sender, pump, window);
    sender_wake(&outlet->sender);
}

void outlet_output(struct outlet *outlet) {
    outlet->armed = false;
    sender_wake(&outlet->sender);
}

void outlet_exited(struct outlet *outlet) {
    outlet->exited = true;
    for (unsigned c = 0; c < 2; c++)
        outlet->last[c] = view_end(&outlet->job->view, c);
    sender_wake(&outlet->sender);
}

void outlet_release(struct outlet *outlet) {
    if (!outlet->job)
        return;
    outlet->released = true;
    job_detach(outlet->job);
    sender_wake(&outlet->sender);
}
