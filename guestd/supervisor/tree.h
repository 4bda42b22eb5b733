/* A job's whole tree: by its cgroup at once; without one by a walk, whose answer comes later. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct supervisor;
struct task;

/* Children of ours that jobs have left behind, and when each was first seen. */
struct orphans {
    struct orphan { /* by rising pid */
        pid_t pid;
        int64_t seen_ns;
    } * list;
    unsigned count, room;
};

/* 0 or -errno. */
int tree_init(struct supervisor *supervisor);
/* To everybody in the tree, the leader too. */
void tree_signal(struct task *task, int signal);
/* Who of the tree is alive, the leader not counted: task->alive, task->looked. False: it will be
 * known later, and task_settle is called then. */
bool tree_look(struct task *task);
/* After a look: somebody is alive, in a group below the job's too, where a look doesn't go. */
bool tree_lives(const struct task *task);
/* Children of ours that no job and no agent is the name for: what exited jobs have left. */
bool tree_has_orphans(struct supervisor *supervisor);
void tree_signal_orphans(struct supervisor *supervisor, int signal);
/* A child was reaped: it is an orphan no more, if it was one. */
void tree_orphan_reaped(struct supervisor *supervisor, pid_t pid);
/* The task goes: an answer that is under way finds nobody. */
void tree_forget(struct task *task);
