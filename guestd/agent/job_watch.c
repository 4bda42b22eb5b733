/* Watching a job, and the simple orders that go to the supervisor for one. */
#include "agent/agent.h"
#include "agent/job_table.h"
#include "agent/link.h"

void job_watch(struct job *job, struct job_watch *watch) {
    watch->job = job_ref(job);
    watch->prev = NULL;
    watch->next = job->watches;
    if (watch->next)
        watch->next->prev = watch;
    job->watches = watch;
}

void job_unwatch(struct job_watch *watch) {
    struct job *job = watch->job;

    if (!job)
        return;
    if (job->next_told == watch)
        job->next_told = watch->next;
    *(watch->prev ? &watch->prev->next : &job->watches) = watch->next;
    if (watch->next)
        watch->next->prev = watch->prev;
    watch->job = NULL;
    watch->prev = watch->next = NULL;
    job_unref(job);
}

static void order(struct job *job, enum link_type type) {
    struct link_job_ref message = {.h = {type, sizeof(message)}, .job = job->id};

    link_send(job->jobs->agent->link, &message, NULL, 0);
}

void job_cancel(struct job *job) {
    job->cancelled = true;
    if (job->state != JOB_RUNNING)
        return;
    order(job, LINK_CANCEL);
    job_detach(job);
}

void job_call(struct job *job) {
    job->callers++;
}

void job_hang_up(struct job *job, bool lost) {
    if (--job->callers == 0 && lost)
        job_cancel(job);
}

void job_adopt(struct job *job) {
    if (job->taken_over && !job->detached)
        order(job, LINK_ADOPT);
}

void job_attended(struct job *job) {
    if (job->taken_over && !job->opener)
        job_detach(job);
}

void job_detach(struct job *job) {
    if (job->detached || job->state == JOB_STARTING)
        return;
    job->detached = true;
    order(job, LINK_DETACH);
}
