#include "supervisor/tree.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/send.h"
#include "supervisor/state.h"

enum { WALK_NONE = 0, WALK_LOOK = -1 };

/* A walk of a task, which may go before its walk is back. */
struct tree_walk {
    struct walk walk;
    struct task *task;
};

static void start_walk(struct task *task, int what);

static void on_walked(struct chore *chore) {
    struct tree_walk *tree_walk = container_of(chore, struct tree_walk, walk.chore);
    struct walk *walk = &tree_walk->walk;
    struct task *task = tree_walk->task;
    if (task != NULL) {
        for (unsigned i = 0; i < walk->hit.count; i++)
            pids_add(&task->hit, walk->hit.pid[i]);
        pids_deinit(&task->alive);
        task->alive = walk->alive;
        walk->alive = (struct pids){0};
        task->walk = NULL;
        int next = task->walk_next;
        task->walk_next = WALK_NONE;
        if (next != WALK_NONE)
            start_walk(task, next);
        else
            task->looked = true;
    }
    pids_deinit(&walk->hit);
    pids_deinit(&walk->alive);
    free(tree_walk);
    if (task != NULL)
        task_settle(task);
}

static void start_walk(struct task *task, int what) {
    struct supervisor *supervisor = task->supervisor;
    struct tree_walk *tree_walk = calloc(1, sizeof *tree_walk);
    if (tree_walk != NULL) {
        tree_walk->task = task;
        tree_walk->walk = (struct walk){
            .chore = {.run = walk_run, .done = on_walked},
            .proc = supervisor->nursery.proc,
            .self = supervisor->pid,
            .leader = task->pid,
            .leader_gone = task->state != TASK_RUNNING,
            .signal = what == WALK_LOOK ? 0 : what,
        };
        snprintf(tree_walk->walk.mark, sizeof tree_walk->walk.mark, "GUESTD_JOB=%016llx-%016llx",
                 (unsigned long long)supervisor->job_nonce, (unsigned long long)task->job);
        if (crew_submit(&supervisor->walkers, &tree_walk->walk.chore) == 0) {
            task->walk = tree_walk;
            return;
        }
        free(tree_walk);
    }
    /* No memory or no thread: the session's own group is what can be had. */
    if (what > 0 && task->state == TASK_RUNNING)
        kill(-task->pid, what);
    task->looked = true;
}

static void walk(struct task *task, int what) {
    task->looked = false;
    if (task->walk == NULL)
        start_walk(task, what);
    else if (task->walk_next != SIGKILL && (what > 0 || task->walk_next == WALK_NONE))
        task->walk_next = what;
}

void tree_signal(struct task *task, int signal) {
    task->looked = false;
    if (task->group == NULL) {
        walk(task, signal);
        return;
    }
    struct groups *groups = &task->supervisor->groups;
    struct pids hit = {0};
    group_signal(groups, task->group, signal, 0, &hit);
    for (unsigned i = 0; i < hit.count; i++) {
        if (hit.pid[i] != task->pid)
            pids_add(&task->hit, hit.pid[i]);
    }
    pids_deinit(&hit);
}

/* ── orphans ── */

/* Where it is in the list, which rises, or would be. */
static unsigned place(const struct orphans *orphans, pid_t pid) {
    unsigned from = 0, to = orphans->count;
    while (from < to) {
        unsigned middle = from + (to - from) / 2;
        if (orphans->list[middle].pid < pid)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

/* When it was first seen: now, if it wasn't before. Without memory each time is the first. */
static int64_t first_seen(struct orphans *orphans, pid_t pid) {
    unsigned at = place(orphans, pid);
    if (at < orphans->count && orphans->list[at].pid == pid)
        return orphans->list[at].seen_ns;
    int64_t now = clock_now();
    if (orphans->count == orphans->room) {
        unsigned room = orphans->room > 0 ? orphans->room * 2 : 16;
        struct orphan *grown = realloc(orphans->list, room * sizeof *grown);
        if (grown == NULL)
            return now;
        orphans->list = grown;
        orphans->room = room;
    }
    struct orphan *orphan = &orphans->list[at];
    memmove(orphan + 1, orphan, (orphans->count - at) * sizeof *orphan);
    *orphan = (struct orphan){.pid = pid, .seen_ns = now};
    orphans->count++;
    return now;
}

void tree_orphan_reaped(struct supervisor *supervisor, pid_t pid) {
    struct orphans *orphans = &supervisor->orphans;
    unsigned at = place(orphans, pid);
    if (at == orphans->count || orphans->list[at].pid != pid)
        return;
    orphans->count--;
    memmove(&orphans->list[at], &orphans->list[at + 1],
            (orphans->count - at) * sizeof *orphans->list);
}

/* Whether it wasn't seen before `since_ns`, if it is one at all. */
static bool orphan(struct supervisor *supervisor, pid_t pid, int signal, int64_t since_ns) {
    if (pid == supervisor->keeper.pid || pid == supervisor->upgrade.asked ||
        task_find_pid(&supervisor->tasks, pid) != NULL)
        return false;
    if (signal != 0)
        kill(pid, signal); /* our child, not reaped: the number is its own */
    return first_seen(&supervisor->orphans, pid) >= since_ns;
}

/*
 * Our children that aren't a job's leader or the agent: the tops of what jobs have left behind, for
 * orphans are ours from the moment their parent is gone, and the kernel lists the main thread's
 * children (proc_tid_children(5), a page a read). Sends them `signal` (0: none). Returns how many
 * of them weren't seen before `since_ns`, or -1: not known.
 */
static int each_orphan(struct supervisor *supervisor, int signal, int64_t since_ns) {
    char text[4096];
    off_t from = 0;
    ssize_t len;
    pid_t pid = 0;
    int count = 0;
    if (supervisor->children < 0)
        return -1;
    while ((len = pread(supervisor->children, text, sizeof text, from)) > 0) {
        from += len;
        for (ssize_t i = 0; i < len; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                pid = pid * 10 + (text[i] - '0');
                continue;
            }
            count += pid > 0 && orphan(supervisor, pid, signal, since_ns);
            pid = 0;
        }
    }
    return len < 0 ? -1 : count;
}

bool tree_has_orphans(struct supervisor *supervisor) {
    return each_orphan(supervisor, 0, 0) > 0;
}

void tree_signal_orphans(struct supervisor *supervisor, int signal) {
    each_orphan(supervisor, signal, 0);
}

/* Whoever was an orphan before the job began is none of its tree. */
static bool left_none(struct task *task) {
    return each_orphan(task->supervisor, 0, task->started_ns) == 0;
}

/* ── looking ── */

bool tree_look(struct task *task) {
    if (task->looked)
        return true;
    if (task->group != NULL) {
        pids_deinit(&task->alive);
        if (group_populated(&task->supervisor->groups, task->group))
            group_list(&task->supervisor->groups, task->group, &task->alive);
        task->looked = true;
        return true;
    }
    if (task->walk == NULL && left_none(task)) {
        pids_deinit(&task->alive);
        task->looked = true;
        return true;
    }
    if (task->walk == NULL)
        walk(task, WALK_LOOK);
    return task->looked;
}

bool tree_lives(const struct task *task) {
    return task->alive.count > 0 ||
           (task->group != NULL && group_populated(&task->supervisor->groups, task->group));
}

void tree_forget(struct task *task) {
    if (task->walk != NULL)
        task->walk->task = NULL;
    task->walk = NULL;
    pids_deinit(&task->hit);
    pids_deinit(&task->alive);
}

int tree_init(struct supervisor *supervisor) {
    return crew_init(&supervisor->walkers, &supervisor->loop, 1);
}
