/* process.wait: answers when a process has exited, at once if it has. Any number may wait.
 * PROTOCOL.md, "Processes". */
#include <errno.h>
#include <stdlib.h>

#include "agent/call.h"
#include "agent/job.h"

#define TIMEOUT_MAX_S 1e12

struct wait_params {
    uint64_t present;
    int64_t pid;
    const char *tag;
    double timeout; /* −1: none */
    bool output;
    int encoding; /* −1: what its exec asked for */
};

static const struct field fields[] = {
    FIELD(wait_params, pid, INT, .min = 1, .max = INT32_MAX),
    FIELD(wait_params, tag, STR),
    FIELD(wait_params, timeout, NUMBER, .otherwise.d = -1),
    FIELD(wait_params, output, BOOL),
    FIELD(wait_params, encoding, CHOICE, .choices = encoding_names, .otherwise.choice = -1),
    FIELDS_END,
};

/* On the heap: the timer outlives the call by a round of the loop. */
struct wait {
    uv_timer_t timer;
    struct job_watch watch;
    struct call *call;
    const struct wait_params *params;
};

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

/* After this the call, and its params, may be gone. */
static void finish(struct wait *wait) {
    struct call *call = wait->call;

    call_on_cancel(call, NULL, NULL);
    job_unwatch(&wait->watch);
    uv_close((uv_handle_t *)&wait->timer, on_closed);
    call_unref(call);
}

static void reply(struct job *job, struct call *call, const struct wait_params *p) {
    job_reply_result(job, call, p->output,
                     p->encoding < 0 ? job_encoding(job) : (enum encoding)p->encoding);
}

static void on_exited(struct job_watch *watch) {
    struct wait *wait = (struct wait *)((char *)watch - offsetof(struct wait, watch));

    reply(watch->job, wait->call, wait->params);
    finish(wait);
}

static void on_timeout(uv_timer_t *timer) {
    struct wait *wait = timer->data;

    call_fail(wait->call, STATUS_TIMEOUT, 0, "timeout", "the process still runs");
    finish(wait);
}

static void on_cancel(struct call *call, enum cancel_reason reason, void *arg) {
    if (reason == CANCEL_BY_CLIENT)
        call_fail(call, STATUS_CANCELLED, 0, NULL, "cancelled");
    finish(arg);
}

static void run(struct call *call, const void *params) {
    const struct wait_params *p = params;
    struct job *job = job_select(call, p->pid, p->tag);
    struct wait *wait;

    if (!job)
        return;
    if (job_exited(job)) {
        reply(job, call, p);
        return;
    }
    wait = calloc(1, sizeof(*wait));
    if (!wait) {
        call_fail(call, STATUS_INTERNAL, ENOMEM, NULL, "no memory for the request");
        return;
    }
    wait->call = call_ref(call);
    wait->params = p;
    wait->watch.exited = on_exited;
    job_watch(job, &wait->watch);
    uv_timer_init(call_loop(call), &wait->timer);
    wait->timer.data = wait;
    if (p->timeout >= 0)
        uv_timer_start(&wait->timer, on_timeout,
                       (uint64_t)((p->timeout < TIMEOUT_MAX_S ? p->timeout : TIMEOUT_MAX_S) * 1000),
                       0);
    call_on_cancel(call, on_cancel, wait);
}

const struct op op_process_wait = {"process.wait", fields, sizeof(struct wait_params), run,
                                   OP_WHILE_BUSY};
