/*
 * An exec from its start to its answer. Before the program runs only an error can answer; once it
 * runs, only a result: a cancelled one answers when the supervisor has ended it, with the reason
 * `cancelled`. A foreground process whose last caller's connection is lost is cancelled too; a
 * background one is never touched.
 */
#include "agent/agent.h"
#include "ops/exec_private.h"
#include "proto/message.h"

/* The answer waits for its turn. */
static void on_late_cancel(struct call *call, enum cancel_reason reason, void *arg) {
    if (reason == CANCEL_BY_CLIENT)
        call_on_cancel(call, on_late_cancel, NULL);
}

/* Lets go of everything: the exec lies in the call's arena. A lost connection may have done so
 * already. */
static void finish(struct exec *exec) {
    if (exec->finished)
        return;
    exec->finished = true;
    call_on_cancel(exec->call, on_late_cancel, NULL);
    if (!exec->order.background)
        job_hang_up(exec->watch.job, exec->lost);
    outlet_stop(&exec->outlet);
    inlet_stop(&exec->inlet);
    job_unwatch(&exec->watch);
    call_unref(exec->call);
}

/* ── the answers ── */

static void reply_started(struct exec *exec) {
    msgpack_packer *pk = call_reply_begin(exec->call, 2);

    pack_kv_int(pk, "pid", job_pid(exec->watch.job));
    pack_kv_text(pk, "tag", job_tag(exec->watch.job));
    call_reply_end(exec->call);
}

static void send_started(struct exec *exec) {
    msgpack_packer *pk = call_event_begin(exec->call, "started", exec->order.stdin_open ? 3 : 2);

    pack_kv_int(pk, "pid", job_pid(exec->watch.job));
    pack_kv_text(pk, "tag", job_tag(exec->watch.job));
    if (exec->order.stdin_open)
        pack_kv_uint(pk, "stdin", exec->inlet.from);
    call_event_end(exec->call);
}

static void on_streamed(struct outlet *outlet) {
    struct exec *exec = (struct exec *)((char *)outlet - offsetof(struct exec, outlet));

    job_reply_streamed(exec->watch.job, exec->call, outlet->gapped);
    finish(exec);
}

/* ── what becomes of the job ── */

static struct exec *exec_of(struct job_watch *watch) {
    return (struct exec *)((char *)watch - offsetof(struct exec, watch));
}

/* Whatever is sent can find the connection lost, and so end in on_cancel. */
static void start_stream(struct exec *exec) {
    int64_t window = exec->params->window;
    struct outlet_plan plan = {.window = window >= 0 ? (uint64_t)window : DEFAULT_WINDOW,
                               .caller = true};
    struct call *call = call_ref(exec->call);

    send_started(exec);
    if (!exec->finished)
        outlet_start(&exec->outlet, call, exec->watch.job, &plan, on_streamed);
    if (!exec->finished && exec->cancelled)
        outlet_release(&exec->outlet);
    call_unref(call);
}

static void on_started(struct job_watch *watch, const struct failure *failure) {
    struct exec *exec = exec_of(watch);

    if (failure && exec->cancelled) {
        call_fail(exec->call, STATUS_CANCELLED, 0, NULL, "cancelled");
        finish(exec);
    } else if (failure) {
        call_fail_with(exec->call, failure);
        finish(exec);
    } else if (exec->order.background) {
        reply_started(exec);
        finish(exec);
    } else if (exec->order.stream) {
        start_stream(exec);
    }
}

static void on_output(struct job_watch *watch) {
    struct exec *exec = exec_of(watch);

    if (exec->order.stream)
        outlet_output(&exec->outlet);
}

static void on_exited(struct job_watch *watch) {
    struct exec *exec = exec_of(watch);

    if (exec->order.stream) {
        outlet_exited(&exec->outlet);
        return;
    }
    job_reply_result(watch->job, exec->call, true, exec->order.encoding);
    finish(exec);
}

static void on_cancel(struct call *call, enum cancel_reason reason, void *arg) {
    struct exec *exec = arg;

    if (exec->order.background) /* it starts, and that is the answer */
        return;
    if (reason == CANCEL_CONNECTION_LOST) {
        exec->lost = true;
        finish(exec);
        return;
    }
    exec->cancelled = true;
    job_cancel(exec->watch.job);
    outlet_release(&exec->outlet);
    call_on_cancel(call, on_cancel, exec); /* the connection may still be lost */
}

static const struct job_watch hooks = {
    .started = on_started, .output = on_output, .exited = on_exited};

static void attend(struct exec *exec) {
    call_ref(exec->call);
    if (!exec->order.background)
        job_call(exec->watch.job);
    call_on_cancel(exec->call, on_cancel, exec);
    if (exec->order.stdin_open && !exec->order.background)
        inlet_attach(&exec->inlet, exec->watch.job);
}

void exec_follow(struct exec *exec) {
    struct failure failure = {0};

    if (exec->params->key && exec_key_join(exec)) /* it began while the user was looked up */
        return;
    exec->watch = hooks;
    if (jobs_start(call_agent(exec->call)->jobs, &exec->order, &exec->watch, &failure))
        call_fail_with(exec->call, &failure);
    else
        attend(exec);
}

void exec_follow_run(struct exec *exec, struct job *job) {
    exec->watch = hooks;
    job_watch(job, &exec->watch);
    attend(exec);
    if (exec->finished) /* crediting what came early found the connection lost */
        return;
    if (job_running(job) || job_exited(job))
        on_started(&exec->watch, NULL);
    if (!exec->finished && job_exited(job) && !exec->order.stream)
        on_exited(&exec->watch);
}
