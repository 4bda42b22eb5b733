#include "supervisor/deadline.h"

#include <time.h>

int64_t clock_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* Both are roots without siblings; either may be NULL. */
static struct deadline *meld(struct deadline *a, struct deadline *b) {
    if (a == NULL || b == NULL)
        return a != NULL ? a : b;
    if (b->key < a->key) {
        struct deadline *swap = a;
        a = b;
        b = swap;
    }
    b->next = a->child;
    if (b->next != NULL)
        b->next->previous = b;
    b->previous = a;
    a->child = b;
    return a;
}

/* One heap from a list of siblings: pairs from left to right, then the pairs from right to left. */
static struct deadline *meld_siblings(struct deadline *first) {
    struct deadline *pairs = NULL;
    while (first != NULL) {
        struct deadline *a = first, *b = a->next;
        first = b != NULL ? b->next : NULL;
        a->next = a->previous = NULL;
        if (b != NULL)
            b->next = b->previous = NULL;
        struct deadline *pair = meld(a, b);
        pair->next = pairs;
        pairs = pair;
    }
    struct deadline *root = NULL;
    while (pairs != NULL) {
        struct deadline *next = pairs->next;
        pairs->next = NULL;
        root = meld(root, pairs);
        pairs = next;
    }
    return root;
}

void deadline_cancel(struct deadlines *all, struct deadline *deadline) {
    if (!deadline->armed)
        return;
    deadline->armed = false;
    struct deadline *rest = meld_siblings(deadline->child);
    if (all->root == deadline) {
        all->root = rest;
    } else {
        if (deadline->previous->child == deadline)
            deadline->previous->child = deadline->next;
        else
            deadline->previous->next = deadline->next;
        if (deadline->next != NULL)
            deadline->next->previous = deadline->previous;
        all->root = meld(all->root, rest);
    }
    deadline->child = deadline->next = deadline->previous = NULL;
}

void deadline_arm(struct deadlines *all, struct deadline *deadline, int64_t due) {
    deadline_cancel(all, deadline);
    deadline->armed = true;
    deadline->key = due - all->shift;
    deadline->child = deadline->next = deadline->previous = NULL;
    all->root = meld(all->root, deadline);
}

int64_t deadlines_next(const struct deadlines *all) {
    return all->root != NULL ? all->root->key + all->shift : INT64_MAX;
}

void deadlines_fire(struct deadlines *all, int64_t now) {
    while (all->root != NULL && all->root->key + all->shift <= now) {
        struct deadline *due = all->root;
        deadline_cancel(all, due);
        due->fire(due);
    }
}

void deadlines_shift(struct deadlines *all, int64_t by) {
    all->shift += by;
}
