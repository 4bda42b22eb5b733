#include "agent/job_input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/call.h"
#include "agent/inlet.h"
#include "agent/job_table.h"
#include "agent/link.h"
#include "proto/message.h"

#define PART_LEAST 1024u /* many small pieces of a stream share one */
#define RETRY_MS 50

/* Bytes on their way to the supervisor, an end, or a question that waits behind them. */
struct input_part {
    struct input_part *next;
    struct call *call; /* counted: whom to answer. NULL: of a stream */
    struct slice data; /* in the call's arena, or `own` */
    uint64_t off;      /* of the data; of what is waited for, where there is none */
    uint32_t end;      /* number of the end behind the data; 0: none */
    bool asks;         /* for `taken`; it has no data */
    size_t cap;
    uint8_t own[];
};

/* ── answers ── */

static void reply(struct call *call, uint64_t off, bool closed) {
    msgpack_packer *pk = call_reply_begin(call, closed ? 2 : 1);

    pack_kv_uint(pk, "off", off);
    if (closed)
        pack_kv_bool(pk, "closed", true);
    call_reply_end(call);
}

/* With `data` {off}: where to go on. */
static void fail(struct call *call, enum status code, const char *field, const char *message,
                 uint64_t off) {
    struct failure failure = {0};
    msgpack_sbuffer data;
    msgpack_packer pk;

    failure_set(&failure, code, 0, field, "%s", message);
    msgpack_sbuffer_init(&data);
    msgpack_packer_init(&pk, &data, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 1);
    pack_kv_uint(&pk, "off", off);
    call_fail_data(call, &failure, (struct slice){(uint8_t *)data.data, data.size});
    msgpack_sbuffer_destroy(&data);
}

static void no_room(struct call *call, uint64_t off) {
    fail(call, STATUS_BUSY, "data", "no room for it until the program reads", off);
}

static void no_memory(struct call *call) {
    call_fail(call, STATUS_LIMIT_EXCEEDED, ENOMEM, NULL, "no memory for the request");
}

static void answer(struct input_part *part, uint64_t taken, bool closed) {
    if (!part->call) {                      /* of a stream */
    } else if (call_answered(part->call)) { /* cancelled or lost meanwhile */
    } else if (part->end) {
        call_reply_empty(part->call);
    } else {
        reply(part->call, part->asks || closed ? taken : part->off + part->data.len, closed);
    }
}

static void free_part(struct input_part *part) {
    if (part->call)
        call_unref(part->call);
    free(part);
}

/* ── what waits ── */

static void recount(struct job *job) {
    struct job_input *input = &job->input;
    uint64_t unread = input->closed ? 0 : input->end - input->written;

    job->jobs->unread += unread - input->counted;
    input->counted = unread;
}

static struct input_part *add_part(struct job_input *input, struct call *call, size_t cap) {
    struct input_part *part = malloc(sizeof(*part) + cap);

    if (!part)
        return NULL;
    *part =
        (struct input_part){.call = call ? call_ref(call) : NULL, .off = input->end, .cap = cap};
    *input->last = part;
    input->last = &part->next;
    if (!input->unsent)
        input->unsent = part;
    return part;
}

static struct input_part *take_first(struct job_input *input) {
    struct input_part *part = input->first;

    input->first = part->next;
    if (!input->first)
        input->last = &input->first;
    if (input->unsent == part)
        input->unsent = part->next;
    return part;
}

static bool is_taken(const struct job_input *input, const struct input_part *part) {
    return input->taken >= part->off + part->data.len &&
           (part->end == 0 || (int32_t)(input->ends_taken - part->end) >= 0);
}

/* Answers those that the supervisor has, in order. An answer may find its connection lost, which
 * may end anything but the job. */
static void settle(struct job_input *input) {
    while (input->first && is_taken(input, input->first)) {
        struct input_part *part = take_first(input);

        answer(part, input->taken, false);
        free_part(part);
    }
}

/* Nothing reaches the program any more: that is the answer for all that wait. */
static void close_input(struct job *job) {
    struct job_input *input = &job->input;

    input->closed = true;
    input->end = input->sent = input->taken;
    recount(job);
    while (input->first) {
        struct input_part *part = take_first(input);

        answer(part, input->taken, true);
        free_part(part);
    }
}

/* ── to the supervisor ── */

static struct {
    struct link_input head;
    uint8_t bytes[LINK_INPUT_MAX];
} message; /* one loop */

/* Fills the message with what comes next. Returns the first part that isn't wholly in it. */
static struct input_part *gather(const struct job_input *input, size_t most) {
    struct input_part *part = input->unsent;
    size_t len = 0;
    bool ends = false;

    for (; part && !ends; part = part->next) {
        if (part->data.len > 0) {
            size_t from = (size_t)(input->sent + len - part->off);
            size_t left = part->data.len - from;
            size_t n = left < most - len ? left : most - len;

            memcpy(message.bytes + len, part->data.data + from, n);
            len += n;
            if (n < left)
                break;
        }
        ends = part->end != 0;
    }
    message.head.len = (uint32_t)len;
    message.head.flags = ends ? LINK_INPUT_CLOSE : 0;
    return part;
}

static void queue(struct job *job) {
    struct jobs *jobs = job->jobs;

    if (job->input.queued)
        return;
    job->input.queued = true;
    job->input.next_feeding = NULL;
    *jobs->last_feeding = job_ref(job);
    jobs->last_feeding = &job->input.next_feeding;
}

/* As much as the supervisor is to hold, and the link takes. False: the link is full. */
static bool pump(struct job *job) {
    struct job_input *input = &job->input;
    uint64_t most = job->jobs->agent->limit[LIMIT_stdin_buffer];

    while (input->unsent && job->state == JOB_RUNNING && !input->closed) {
        uint64_t held = input->sent - input->written;
        uint64_t room = held < most ? most - held : 0;
        struct input_part *next = gather(input, room < LINK_INPUT_MAX ? room : LINK_INPUT_MAX);

        if (message.head.len > 0 || message.head.flags) {
            message.head.h =
                (struct link_header){LINK_INPUT, (uint32_t)sizeof(message.head) + message.head.len};
            message.head.job = job->id;
            message.head.off = input->sent;
            if (link_try(job->jobs->agent->link, &message) == -EAGAIN) {
                queue(job);
                return false;
            }
            input->sent += message.head.len;
        } else if (next == input->unsent) {
            break; /* no room */
        }
        input->unsent = next;
    }
    return true;
}

static struct job *take_feeding(struct jobs *jobs) {
    struct job *job = jobs->feeding;

    jobs->feeding = job->input.next_feeding;
    if (!jobs->feeding)
        jobs->last_feeding = &jobs->feeding;
    job->input.queued = false;
    return job;
}

void jobs_feed(struct jobs *jobs) {
    bool room = true;

    while (jobs->feeding && room) {
        struct job *job = take_feeding(jobs);

        room = pump(job); /* else it stands at the end of the queue again */
        job_unref(job);
    }
}

static void on_retry(uv_timer_t *timer) {
    jobs_feed(timer->data);
}

/*
 * The supervisor had no memory for what begins at `taken`, and let go of what followed. Requests
 * are told so. A stream has its client's credit for it, and goes on after a moment.
 */
static void roll_back(struct job *job) {
    struct job_input *input = &job->input;
    struct input_part *part = input->first, *refused = NULL, **last = &refused;
    uint64_t at = input->taken;

    input->first = input->unsent = NULL;
    input->last = &input->first;
    input->ends = input->ends_taken;
    for (struct input_part *next; part; part = next) {
        size_t had = part->off < at && part->data.len > 0 ? (size_t)(input->taken - part->off) : 0;

        next = part->next;
        part->next = NULL;
        if (part->call) {
            *last = part;
            last = &part->next;
            continue;
        }
        part->data.data += had;
        part->data.len -= had;
        part->cap = part->data.len; /* its bytes moved */
        part->off = at;
        at += part->data.len;
        if (part->end)
            part->end = ++input->ends;
        *input->last = part;
        input->last = &part->next;
    }
    input->unsent = input->first;
    input->sent = input->taken;
    input->end = at;
    input->ended = !input->terminal && input->ends > 0;
    if (input->inlet)
        input->inlet->last = at;
    recount(job);
    queue(job);
    uv_timer_start(&job->jobs->feed_again, on_retry, RETRY_MS, 0);
    while (refused) {
        part = refused;
        refused = part->next;
        if (!call_answered(part->call))
            no_room(part->call, input->taken);
        free_part(part);
    }
}

void jobs_on_taken(struct jobs *jobs, const struct link_taken *taken) {
    struct job *job = jobs_by_id_find(jobs, taken->job);
    struct job_input *input;

    if (!job || !job->input.open)
        return;
    job_ref(job);
    input = &job->input;
    input->taken = taken->taken;
    input->written = taken->written;
    input->ends_taken = taken->ends;
    if (input->taken > input->end) /* an earlier agent's */
        input->end = input->sent = input->taken;
    if ((int32_t)(input->ends_taken - input->ends) > 0)
        input->ends = input->ends_taken;
    input->ended |= input->ends_taken > 0 && !input->terminal;
    recount(job);
    settle(input);
    if (taken->closed)
        close_input(job);
    else if (taken->err)
        roll_back(job);
    if (input->inlet)
        inlet_taken(input->inlet);
    if (!taken->err)
        pump(job);
    job_unref(job);
}

/* ── from clients ── */

int job_input_add(struct job *job, const uint8_t *bytes, size_t len) {
    struct job_input *input = &job->input;
    struct input_part *part =
        input->first
            ? (struct input_part *)((char *)input->last - offsetof(struct input_part, next))
            : NULL;

    if (!part || part->call || part->end || part->cap - part->data.len < len) {
        part = add_part(input, NULL, len > PART_LEAST ? len : PART_LEAST);
        if (!part)
            return -ENOMEM;
        part->data.data = part->own;
    } else if (!input->unsent) {
        input->unsent = part;
    }
    memcpy(part->own + part->data.len, bytes, len);
    part->data.len += len;
    input->end += len;
    recount(job);
    pump(job);
    return 0;
}

static int add_end(struct job *job, struct call *call) {
    struct job_input *input = &job->input;
    struct input_part *part = add_part(input, call, 0);

    if (!part)
        return -ENOMEM;
    if (!input->ended)
        input->ends++;
    part->end = input->ends;
    input->ended = !input->terminal;
    pump(job);
    return 0;
}

int job_input_add_end(struct job *job) {
    return job->input.closed || job->input.ended ? 0 : add_end(job, NULL);
}

void job_close_stdin(struct job *job, struct call *call) {
    struct job_input *input = &job->input;

    if (!input->open)
        call_fail(call, STATUS_INVALID_REQUEST, 0, NULL, "its stdin is not open");
    else if (input->closed || (input->ended && input->ends_taken == input->ends))
        call_reply_empty(call);
    else if (add_end(job, call) < 0)
        no_memory(call);
}

static bool has_room(const struct job *job, size_t len) {
    const uint64_t *limit = job->jobs->agent->limit;
    uint64_t unread = job->input.end - job->input.written;

    return unread + len <= limit[LIMIT_stdin_buffer] &&
           job->jobs->unread + len <= limit[LIMIT_queue_total];
}

/* What was there before is a repeat: only how far it got is to be told, once it got that far. */
static void ask(struct job *job, struct call *call, uint64_t until) {
    struct job_input *input = &job->input;
    struct input_part *part;

    if (input->taken >= until) {
        reply(call, input->taken, false);
        return;
    }
    part = add_part(input, call, 0);
    if (!part) {
        no_memory(call);
        return;
    }
    part->asks = true;
    part->off = until;
    pump(job);
}

void job_input(struct job *job, struct call *call, struct slice data, int64_t off) {
    struct job_input *input = &job->input;
    uint64_t at = off < 0 ? input->end : (uint64_t)off;
    struct input_part *part;

    if (!input->open) {
        call_fail(call, STATUS_INVALID_REQUEST, 0, "data", "its stdin is not open");
    } else if (input->closed || input->ended) {
        reply(call, input->taken, true);
    } else if (at > input->end) {
        fail(call, STATUS_INVALID_REQUEST, "off", "bytes before it are missing", input->taken);
    } else if (at + data.len <= input->end) {
        ask(job, call, data.len > 0 ? at + data.len : input->sent);
    } else if (!has_room(job, data.len - (size_t)(input->end - at))) {
        no_room(call, input->taken);
    } else if (!(part = add_part(input, call, 0))) {
        no_memory(call);
    } else {
        size_t repeated = (size_t)(input->end - at);

        part->data = (struct slice){data.data + repeated, data.len - repeated};
        input->end += part->data.len;
        recount(job);
        agent_touch(job->jobs->agent);
        pump(job);
    }
}

/* ── its life ── */

void job_input_init(struct job *job, uint32_t flags) {
    job->input.open = (flags & (LINK_SPAWN_STDIN_OPEN | LINK_SPAWN_PTY)) != 0;
    job->input.terminal = (flags & LINK_SPAWN_PTY) != 0;
    job->input.last = &job->input.first;
}

void job_input_started(struct job *job) {
    pump(job);
}

void job_input_exited(struct job *job) {
    if (!job->input.open)
        return;
    close_input(job);
    if (job->input.inlet)
        inlet_taken(job->input.inlet);
}

void job_input_deinit(struct job *job) {
    struct job_input *input = &job->input;

    while (input->open && input->first)
        free_part(take_first(input));
    input->closed = true;
    recount(job);
}

void jobs_input_init(struct jobs *jobs) {
    jobs->last_feeding = &jobs->feeding;
    uv_timer_init(&jobs->agent->loop, &jobs->feed_again);
    jobs->feed_again.data = jobs;
    uv_unref((uv_handle_t *)&jobs->feed_again);
}

void jobs_input_deinit(struct jobs *jobs, uv_close_cb on_closed) {
    while (jobs->feeding)
        job_unref(take_feeding(jobs));
    uv_close((uv_handle_t *)&jobs->feed_again, on_closed);
}
