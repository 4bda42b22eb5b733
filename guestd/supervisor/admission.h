/*
 * Starts that wait for memory: what gives way for a new job's store is there only when the agent
 * has let go of it. They wait in the order of their coming, for as long as a pipe would (budget.h),
 * and are refused then.
 */
#pragma once

#include <stdbool.h>

#include "supervisor/deadline.h"

struct supervisor;
struct task;

struct admission {
    struct task *first, **last;
    struct deadline wake; /* at once */
};

void admission_init(struct admission *admission);
/* 1: the task has its memory; 0: spawn_admitted comes; -ENOMEM: there is none to wait for. */
int admission_ask(struct task *task);
/* Some memory came free, or no more will come. They are admitted or refused, and freed then, in a
 * turn of their own: who frees memory may be walking along tasks. */
void admission_wake(struct supervisor *supervisor);
