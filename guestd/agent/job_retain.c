/* How long exited jobs are remembered: so many, for so long. Their output may go before, by the
 * supervisor's measure. */
#include <errno.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/call.h"
#include "agent/job_table.h"
#include "agent/link.h"

void jobs_forget_flush(struct jobs *jobs) {
    for (uint32_t i = 0; i < jobs->n_forget; i++) {
        struct link_job_ref message = {.h = {LINK_FORGET, sizeof(message)}, .job = jobs->forget[i]};

        link_send(jobs->agent->link, &message, NULL, 0);
    }
    jobs->n_forget = 0;
}

/* The supervisor is told in a batch, or with the next spawn: a forgotten job is not worth waking
 * it. */
static void forget(struct job *job) {
    struct jobs *jobs = job->jobs;

    jobs->forget[jobs->n_forget++] = job->id;
    job_unlist(job);
    if (jobs->n_forget == JOBS_FORGET_BATCH)
        jobs_forget_flush(jobs);
}

/* The answer stands: an agent that dies now has told the supervisor. */
void job_forget(struct job *job, struct call *call) {
    struct jobs *jobs = job->jobs;

    if (job->state != JOB_EXITED) {
        call_fail(call, STATUS_BUSY, EBUSY, NULL, "the process runs");
        return;
    }
    forget(job);
    jobs_forget_flush(jobs);
    call_reply_empty(call);
}

static void start_expiry(struct jobs *jobs);

static void on_expiry(uv_timer_t *timer) {
    struct jobs *jobs = timer->data;
    uint64_t keep_ms = jobs->agent->limit[LIMIT_retained_s] * 1000;

    while (jobs->oldest && uv_now(&jobs->agent->loop) - jobs->oldest->exited_ms >= keep_ms)
        forget(jobs->oldest);
    jobs_forget_flush(jobs);
    start_expiry(jobs);
}

static void start_expiry(struct jobs *jobs) {
    uint64_t keep_ms = jobs->agent->limit[LIMIT_retained_s] * 1000;
    uint64_t age_ms;

    if (!jobs->oldest)
        return;
    age_ms = uv_now(&jobs->agent->loop) - jobs->oldest->exited_ms;
    uv_timer_start(&jobs->expiry, on_expiry, age_ms < keep_ms ? keep_ms - age_ms : 0, 0);
}

void jobs_retain_init(struct jobs *jobs) {
    uv_timer_init(&jobs->agent->loop, &jobs->expiry);
    jobs->expiry.data = jobs;
    uv_unref((uv_handle_t *)&jobs->expiry); /* nothing waits for it */
}

/* By the time of the exit: a new agent is told of jobs in no order that it could go by, first of
 * those that have just exited. */
static void list(struct job *job) {
    struct jobs *jobs = job->jobs;
    struct job *older = jobs->newest;

    while (older && older->exited_ms > job->exited_ms)
        older = older->older;
    job->older = older;
    job->newer = older ? older->newer : jobs->oldest;
    *(older ? &older->newer : &jobs->oldest) = job;
    *(job->newer ? &job->newer->older : &jobs->newest) = job;
}

void jobs_retain(struct job *job) {
    struct jobs *jobs = job->jobs;
    const uint64_t *limit = jobs->agent->limit;
    double age_ms;

    /* One that exited while there was no agent has its age already. */
    age_ms = (agent_now() - job->result.exited_at) * 1000;
    job->exited_ms = uv_now(&jobs->agent->loop);
    if (age_ms > 0)
        job->exited_ms -= age_ms < (double)job->exited_ms ? (uint64_t)age_ms : job->exited_ms;
    list(job);
    jobs->exited++;
    jobs->living--;
    while (jobs->exited > limit[LIMIT_retained])
        forget(jobs->oldest);
    if (!uv_is_active((uv_handle_t *)&jobs->expiry))
        start_expiry(jobs);
}
