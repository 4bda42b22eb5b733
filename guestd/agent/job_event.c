/* What the link tells of jobs. Events are hints: LINK_JOB, at the start or any time later, says
 * what is true. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/job_table.h"
#include "agent/link.h"
#include "agent/log.h"
#include "proto/status.h"

/* Calls a hook of every watch; hooks may unwatch whomever they like. */
static void tell_output(struct job *job) {
    job_ref(job);
    for (struct job_watch *watch = job->watches; watch; watch = job->next_told) {
        job->next_told = watch->next;
        if (watch->output)
            watch->output(watch);
    }
    job_unref(job);
}

static void tell_exited(struct job *job) {
    job_ref(job);
    for (struct job_watch *watch = job->watches; watch; watch = job->next_told) {
        job->next_told = watch->next;
        watch->exited(watch);
    }
    job_unref(job);
}

static void tell_started(struct job *job, const struct failure *failure) {
    job_ref(job);
    for (struct job_watch *watch = job->watches; watch; watch = job->next_told) {
        job->next_told = watch->next;
        watch->started(watch, failure);
    }
    job_unref(job);
}

/* ── start ── */

static bool is_limit(uint32_t stage) {
    return stage >= LINK_STAGE_LIMIT && stage < LINK_STAGE_LIMIT + LINK_LIMIT_COUNT;
}

static const char *stage_field(uint32_t stage) {
    if (is_limit(stage))
        return job_limit_field((enum link_limit)(stage - LINK_STAGE_LIMIT));
    switch (stage) {
    case LINK_STAGE_CMD:
        return "cmd";
    case LINK_STAGE_CWD:
        return "cwd";
    case LINK_STAGE_USER:
        return "user";
    case LINK_STAGE_ARGS:
        return "args";
    case LINK_STAGE_PTY:
        return "pty";
    default:
        return NULL;
    }
}

static void start_failure(const struct link_spawned *message, struct failure *ret) {
    static const char *const what[] = {
        [LINK_STAGE_NONE] = "the process could not be made",
        [LINK_STAGE_CMD] = "the program could not be started",
        [LINK_STAGE_CWD] = "the working directory could not be entered",
        [LINK_STAGE_USER] = "the user could not be taken on",
        [LINK_STAGE_ARGS] = "arguments and environment could not be passed",
        [LINK_STAGE_BUSY] = "no program can be started now",
        [LINK_STAGE_PTY] = "no terminal could be made",
    };
    uint32_t stage = message->stage;
    const char *happened = is_limit(stage)                        ? "the limit could not be set"
                           : stage < sizeof(what) / sizeof(*what) ? what[stage]
                                                                  : what[LINK_STAGE_NONE];
    enum status code = status_from_errno(message->err);

    switch (message->err) {
    case ENOEXEC:
    case ELIBBAD:
        code = STATUS_WRONG_TYPE;
        break;
    case EISDIR: /* what execve(2) answers for a directory is EACCES */
        code = stage == LINK_STAGE_CMD ? STATUS_PERMISSION_DENIED : code;
        break;
    case EAGAIN:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        code = STATUS_LIMIT_EXCEEDED;
        break;
    default:
        break;
    }
    if (stage == LINK_STAGE_BUSY)
        code = STATUS_BUSY;
    if (stage == LINK_STAGE_PTY && message->err == ENOSPC) /* as devpts says: no more of them */
        code = STATUS_LIMIT_EXCEEDED;
    if (stage == LINK_STAGE_PTY &&
        (message->err == ENOENT || message->err == ENODEV || message->err == ENXIO))
        code = STATUS_UNSUPPORTED;
    failure_set(ret, code, message->err, stage_field(stage), "%s: %s", happened,
                strerror(message->err));
}

int jobs_on_spawned(struct jobs *jobs, const struct link_spawned *message, int fd) {
    struct job *job = jobs_by_id_find(jobs, message->job);
    int r = 0;

    if (job && job->state == JOB_STARTING) {
        jobs->inherited -= job->taken_over;
        if (message->err) {
            struct failure failure = {0};

            start_failure(message, &failure);
            job_ref(job);
            job_unlist(job);
            tell_started(job, &failure);
            job_unref(job);
        } else {
            r = view_open(fd, &job->view);
            /* Without memory for the mapping the job runs on, its output just can't be read here.
             */
            if (r < 0)
                log_error("the store of process %d can't be mapped: %s", (int)message->pid,
                          strerror(-r));
            job->unmapped = r < 0;
            r = r == -EBADMSG ? r : 0;
            jobs->agent->stats.processes_started += !job->taken_over;
            job->detached |= job->taken_over && !view_blocks(&job->view);
            job_started(job, message->pid, message->started_at);
            if (job->cancelled)
                job_cancel(job);
            tell_started(job, NULL);
            job_input_started(job);
        }
    }
    if (fd >= 0)
        close(fd);
    return r;
}

void job_abandon(struct job *job) {
    struct failure failure = {0};

    if (job->state != JOB_STARTING)
        return;
    failure_set(&failure, STATUS_BUSY, ECANCELED, NULL, "guestd ends");
    tell_started(job, &failure);
}

/* ── the store ── */

/* One that exited and keeps no output is known by its record: a page less for each. */
static void let_go_of_nothing(struct job *job) {
    for (unsigned c = 0; c < 2; c++)
        if (!view_eof(&job->view, c) || view_end(&job->view, c) > view_oldest(&job->view, c))
            return;
    job_close_view(job);
}

int jobs_on_store(struct jobs *jobs, uint64_t id, int fd) {
    struct link_job_ref stored = {{LINK_STORED, sizeof(stored)}, id};
    struct job *job = jobs_by_id_find(jobs, id);
    struct view view;
    int r = 0;

    if (job && job->view.base) {
        r = view_open(fd, &view);
        if (r == 0) {
            view_close(&job->view); /* nobody keeps a pointer into it beyond his turn */
            job->view = view;
        } else if (r != -EBADMSG) {
            log_error("the smaller store of process %d can't be mapped: %s", (int)job->pid,
                      strerror(-r));
            job_close_view(job);
            job->unmapped = true;
            r = 0;
        }
        if (job_exited(job))
            let_go_of_nothing(job);
        tell_output(job);
    }
    close(fd);
    return link_send(jobs->agent->link, &stored, NULL, 0) < 0 ? -ENOMEM : r;
}

/* ── the end ── */

static void exited(struct job *job, const struct link_result *result) {
    job_ref(job);
    job->result = *result;
    job->state = JOB_EXITED;
    job_input_exited(job);
    jobs_retain(job);
    tell_exited(job);
    let_go_of_nothing(job);
    view_rest(&job->view);
    job_unref(job);
}

void jobs_on_exited(struct jobs *jobs, const struct link_exited *message) {
    struct job *job = jobs_by_id_find(jobs, message->job);

    if (job && job->state == JOB_RUNNING)
        exited(job, &message->result);
}

void jobs_on_output(struct jobs *jobs, uint64_t id) {
    struct job *job = jobs_by_id_find(jobs, id);

    if (!job)
        return;
    bell_rang(job);
    tell_output(job);
}
