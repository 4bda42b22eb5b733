#include "supervisor/admission.h"

#include <errno.h>

#include "supervisor/spawn.h"
#include "supervisor/state.h"

int admission_ask(struct task *task) {
    struct admission *admission = &task->supervisor->admission;
    if (admission->first == NULL && budget_admit(task))
        return 1;
    if (!admission->wake.armed && !budget_wait(task->supervisor))
        return -ENOMEM;
    task->next_admitted = NULL;
    *admission->last = task;
    admission->last = &task->next_admitted;
    return 0;
}

static struct task *take_first(struct admission *admission) {
    struct task *task = admission->first;
    admission->first = task->next_admitted;
    if (admission->first == NULL)
        admission->last = &admission->first;
    return task;
}

static void on_wake(struct deadline *deadline) {
    struct supervisor *supervisor = container_of(deadline, struct supervisor, admission.wake);
    struct admission *admission = &supervisor->admission;
    while (admission->first != NULL) {
        bool admitted = budget_admit(admission->first);
        if (!admitted && budget_wait(supervisor))
            break;
        spawn_admitted(take_first(admission), admitted);
    }
    budget_calm(supervisor);
}

void admission_init(struct admission *admission) {
    *admission = (struct admission){.last = &admission->first, .wake.fire = on_wake};
}

void admission_wake(struct supervisor *supervisor) {
    struct admission *admission = &supervisor->admission;
    if (admission->first != NULL && !admission->wake.armed)
        deadline_arm(&supervisor->loop.deadlines, &admission->wake, clock_now());
}
