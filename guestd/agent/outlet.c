/* Who reads a job: from its start to its end, and who of them is the opener. */
#include "agent/outlet.h"

#include "agent/job_table.h"

static struct outlet *outlet_of(struct sender *sender) {
    return (struct outlet *)((char *)sender - offsetof(struct outlet, sender));
}

static bool complete(const struct outlet *outlet, unsigned c) {
    bool final;

    return outlet->sent[c] >= outlet_end(outlet, c, &final) && final;
}

/* ── the opener ── */

static void open_by(struct outlet *outlet) {
    uint64_t taken[2];

    outlet->job->opener = outlet;
    if (!outlet_holds(outlet))
        return;
    job_adopt(outlet->job);
    outlet_taken(outlet, taken);
    bell_acknowledge(outlet->job, taken);
}

/* The opener has left; descendants that hold the pipes go on, with nobody to wait for. */
static void pass_on(struct job *job) {
    struct outlet *next = job->outlets;

    while (next && (!next->caller || next->released))
        next = next->next;
    job->opener = NULL;
    if (next)
        open_by(next);
    else if (!view_eof(&job->view, 0) || !view_eof(&job->view, 1))
        job_detach(job);
}

/* ── its turn ── */

/* The ends come after the data of both. */
static bool send_ends(struct outlet *outlet) {
    if (outlet->ended || !complete(outlet, 0) || !complete(outlet, 1))
        return false;
    outlet->ended = true;
    for (unsigned c = 0; c < 2 && outlet->job; c++)
        if (job_channel(outlet->job, c))
            call_send_end(outlet->sender.call, job_channel(outlet->job, c), outlet->sent[c]);
    return true;
}

/* What came since it was looked for rings at once. */
static void wait_for_more(struct outlet *outlet) {
    struct job *job = outlet->job;
    bool eof[2] = {complete(outlet, 0), complete(outlet, 1)};
    uint64_t taken[2];

    if (!outlet_holds(outlet)) {
        bell_arm(job, outlet->sent, eof);
        return;
    }
    outlet_taken(outlet, taken);
    bell_arm_and_acknowledge(job, outlet->sent, eof, taken);
}

static bool send_next(struct outlet *outlet) {
    if (outlet_send(outlet) || send_ends(outlet))
        return true;
    if (outlet->exited && outlet->ended) {
        outlet->done(outlet);
        return true;
    }
    /* Without credit nobody needs to know. */
    if (!outlet->exited && !outlet->starved)
        wait_for_more(outlet);
    return false;
}

static bool pump(struct sender *sender) {
    struct outlet *outlet = outlet_of(sender);
    struct job *job;
    bool sent;

    if (!outlet->job)
        return false;
    job = job_ref(outlet->job);
    sent = send_next(outlet); /* a lost connection stops it under way */
    job_unref(job);
    return sent;
}

/* ── its life ── */

void outlet_start(struct outlet *outlet, struct call *call, struct job *job,
                  const struct outlet_plan *plan, void (*done)(struct outlet *outlet)) {
    struct outlet **at = &job->outlets;

    *outlet =
        (struct outlet){.job = job, .caller = plan->caller, .window = plan->window, .done = done};
    outlet->sent[0] = plan->from[0];
    outlet->sent[1] = plan->from[1];
    for (; *at; at = &(*at)->next)
        outlet->prev = *at;
    *at = outlet;
    call_sender_start(call, &outlet->sender, pump, plan->window);
    if (!outlet->job) /* the credit was too much: its connection is gone */
        return;
    if (outlet->caller && !job->opener)
        open_by(outlet);
    if (job->state == JOB_EXITED)
        outlet_exited(outlet);
    else
        sender_wake(&outlet->sender);
}

void outlet_stop(struct outlet *outlet) {
    struct job *job = outlet->job;

    if (!job)
        return;
    outlet->job = NULL;
    *(outlet->prev ? &outlet->prev->next : &job->outlets) = outlet->next;
    if (outlet->next)
        outlet->next->prev = outlet->prev;
    if (job->opener == outlet)
        pass_on(job);
}

void outlet_output(struct outlet *outlet) {
    if (outlet->job && (!outlet->starved || call_window(outlet->sender.call) > 0))
        sender_wake(&outlet->sender);
}

void outlet_exited(struct outlet *outlet) {
    if (!outlet->job)
        return;
    outlet->exited = true;
    for (unsigned c = 0; c < 2; c++)
        outlet->last[c] = job_end(outlet->job, c);
    sender_wake(&outlet->sender);
}

void outlet_release(struct outlet *outlet) {
    if (!outlet->job)
        return;
    outlet->released = true;
    job_detach(outlet->job);
    sender_wake(&outlet->sender);
}
