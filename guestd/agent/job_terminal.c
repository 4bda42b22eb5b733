/* What is asked of a job's terminal; the supervisor holds it. */
#include <errno.h>

#include "agent/agent.h"
#include "agent/call.h"
#include "agent/job_table.h"
#include "agent/link.h"

bool job_has_terminal(const struct job *job) {
    return job->facts->flags & FACTS_PTY;
}

void job_resize(struct job *job, struct call *call, uint16_t rows, uint16_t cols) {
    struct link_resize order = {
        .h = {LINK_RESIZE, sizeof(order)}, .job = job->id, .rows = rows, .cols = cols};
    int r;

    if (!job_has_terminal(job)) {
        call_fail(call, STATUS_INVALID_REQUEST, 0, "rows", "the process has no terminal");
    } else if (job->state != JOB_RUNNING) {
        call_fail(call, STATUS_NOT_FOUND, ESRCH, NULL, "the process has exited");
    } else if ((r = link_send(job->jobs->agent->link, &order, NULL, 0)) < 0) {
        call_fail(call, STATUS_INTERNAL, -r, NULL, "no memory for the request");
    } else {
        call_reply_empty(call);
    }
}
