/*
 * process.kill's way: the order to the supervisor, and its answer. SIGKILL is answered when the
 * leader is reaped; what the client asks next must find it exited, so the answer also waits for
 * that word, which can come a moment later.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/call.h"
#include "agent/job_table.h"
#include "agent/link.h"

struct kill {
    struct job_watch watch;
    struct call *call;
    bool deadly;
    bool done; /* the supervisor has answered; the exit is still waited for */
};

static void finish(struct kill *kill) {
    job_unwatch(&kill->watch);
    call_unref(kill->call);
    free(kill);
}

static void on_exited(struct job_watch *watch) {
    struct kill *kill = (struct kill *)((char *)watch - offsetof(struct kill, watch));

    job_unwatch(watch);
    if (!kill->done)
        return;
    call_reply_empty(kill->call);
    finish(kill);
}

static void on_done(int err, void *arg) {
    struct kill *kill = arg;

    kill->done = true;
    if (call_answered(kill->call)) { /* cancelled meanwhile */
    } else if (err == ESRCH) {
        call_fail(kill->call, STATUS_NOT_FOUND, ESRCH, NULL, "the process has exited");
    } else if (err) {
        call_fail(kill->call, status_from_errno(err), err, NULL, "the signal could not be sent: %s",
                  strerror(err));
    } else if (kill->deadly && kill->watch.job) {
        return;
    } else {
        call_reply_empty(kill->call);
    }
    finish(kill);
}

static void on_cancel(struct call *call, enum cancel_reason reason, void *arg) {
    struct kill *kill = arg;

    if (reason == CANCEL_BY_CLIENT)
        call_fail(call, STATUS_CANCELLED, 0, NULL, "cancelled");
    if (kill->done) /* else on_done is still to come */
        finish(kill);
}

static void refuse(struct call *call, enum status code, int err, const char *message) {
    call_fail(call, code, err, NULL, "%s", message);
}

void job_signal(struct job *job, struct call *call, int number, enum link_scope scope) {
    struct kill *kill;

    if (job->state != JOB_RUNNING) {
        refuse(call, STATUS_NOT_FOUND, ESRCH, "the process has exited");
        return;
    }
    kill = calloc(1, sizeof(*kill));
    if (!kill || link_signal(job->jobs->agent->link, job->id, number, scope, on_done, kill) < 0) {
        free(kill);
        refuse(call, STATUS_INTERNAL, ENOMEM, "no memory for the request");
        return;
    }
    kill->call = call_ref(call);
    kill->deadly = number == SIGKILL;
    kill->watch.exited = on_exited;
    job_watch(job, &kill->watch);
    call_on_cancel(call, on_cancel, kill);
}
