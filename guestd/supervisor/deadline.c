#include "supervisor/deadline.h"

#include <stddef.h>
#include <time.h>

int64_t clock_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

void deadline_cancel(struct deadlines *all, struct deadline *deadline) {
    deadline->armed = false;
    heap_take(&all->heap, &deadline->node);
}

void deadline_arm(struct deadlines *all, struct deadline *deadline, int64_t due) {
    deadline->armed = true;
    heap_put(&all->heap, &deadline->node, due - all->shift);
}

int64_t deadline_due(const struct deadlines *all, const struct deadline *deadline) {
    return deadline->node.key + all->shift;
}

int64_t deadlines_next(const struct deadlines *all) {
    return all->heap.least != NULL ? all->heap.least->key + all->shift : INT64_MAX;
}

void deadlines_fire(struct deadlines *all, int64_t now) {
    while (deadlines_next(all) <= now && all->heap.least != NULL) {
        struct deadline *due =
            (struct deadline *)(void *)((char *)all->heap.least - offsetof(struct deadline, node));
        deadline_cancel(all, due);
        due->fire(due);
    }
}

void deadlines_shift(struct deadlines *all, int64_t by) {
    all->shift += by;
}
