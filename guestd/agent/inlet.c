#include "agent/inlet.h"

#include <errno.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/job_table.h"
#include "proto/fields.h"

#define EARLY_LEAST 4096u
/* Of the window: the client needn't hear of every page. */
#define CREDIT_PART 4

static struct inlet *inlet_of(struct receiver *receiver) {
    return (struct inlet *)((char *)receiver - offsetof(struct inlet, receiver));
}

/* ── credit ── */

/* How many of `pending` are certainly with the program: of what lies before `last` and isn't, all
 * may be this stream's. */
static uint64_t due(const struct inlet *inlet) {
    const struct job_input *input = &inlet->job->input;
    uint64_t ahead = inlet->last > input->written ? inlet->last - input->written : 0;

    if (input->closed)
        return inlet->pending;
    return inlet->pending > ahead ? inlet->pending - ahead : 0;
}

void inlet_taken(struct inlet *inlet) {
    uint64_t window = call_agent(inlet->call)->limit[LIMIT_stream_credit];
    uint64_t bytes = due(inlet);

    if (bytes < inlet->pending && bytes < window / CREDIT_PART)
        return;
    inlet->pending -= bytes;
    call_credit(inlet->call, bytes);
}

/* ── data ── */

/* Before there is a job: at most the starting credit. */
static bool keep_early(struct inlet *inlet, struct slice data) {
    size_t len = inlet->early_len + data.len, cap = inlet->early_cap;

    while (cap < len)
        cap = cap ? cap * 2 : EARLY_LEAST;
    if (cap > inlet->early_cap) {
        uint8_t *more = arena_alloc(call_arena(inlet->call), cap);

        if (!more)
            return false;
        if (inlet->early_len > 0)
            memcpy(more, inlet->early, inlet->early_len);
        inlet->early = more;
        inlet->early_cap = cap;
    }
    if (data.len > 0)
        memcpy(inlet->early + inlet->early_len, data.data, data.len);
    inlet->early_len = len;
    return true;
}

static bool feed(struct inlet *inlet, struct slice data) {
    struct job *job = inlet->job;
    size_t repeated = inlet->repeats < data.len ? (size_t)inlet->repeats : data.len;

    if (job->input.closed || job->input.ended)
        repeated = data.len;
    else
        inlet->repeats -= repeated;
    call_credit(inlet->call, repeated);
    if (repeated == data.len)
        return true;
    if (job_input_add(job, data.data + repeated, data.len - repeated) < 0)
        return false;
    inlet->pending += data.len - repeated;
    inlet->last = job->input.end;
    return true;
}

/* With bytes missing nothing that follows would be true. */
static void give_up(struct inlet *inlet) {
    call_refuse(inlet->call, STATUS_LIMIT_EXCEEDED, "no memory for what a program is to read");
}

static bool is_current(const struct inlet *inlet) {
    return inlet->job && inlet->job->input.inlet == inlet;
}

static void on_data(struct receiver *receiver, struct slice data, struct buffer *owner) {
    struct inlet *inlet = inlet_of(receiver);

    if (inlet->stopped || (inlet->job && !is_current(inlet)))
        return;
    if (!(inlet->job ? feed(inlet, data) : keep_early(inlet, data)))
        give_up(inlet);
}

static void on_end(struct receiver *receiver) {
    struct inlet *inlet = inlet_of(receiver);

    if (!inlet->job)
        inlet->ended = true;
    else if (is_current(inlet) && job_input_add_end(inlet->job) < 0)
        give_up(inlet);
}

void inlet_start(struct inlet *inlet, struct call *call) {
    *inlet = (struct inlet){.receiver = {on_data, on_end}, .call = call};
    call_receiver_start(call, &inlet->receiver);
}

void inlet_attach(struct inlet *inlet, struct job *job) {
    struct job_input *input = &job->input;

    inlet->job = job;
    inlet->from = input->taken;
    inlet->repeats = input->end - input->taken;
    inlet->last = input->end;
    input->inlet = inlet;
    if (inlet->early_len > 0 && !feed(inlet, (struct slice){inlet->early, inlet->early_len}))
        give_up(inlet);
    else if (inlet->ended && job_input_add_end(job) < 0)
        give_up(inlet);
}

void inlet_stop(struct inlet *inlet) {
    inlet->stopped = true;
    if (is_current(inlet))
        inlet->job->input.inlet = NULL;
    inlet->job = NULL;
}
