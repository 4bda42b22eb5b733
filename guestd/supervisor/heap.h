/* A pairing heap, the least key first, of nodes that live in their owners: putting one in can never
 * fail. Fredman, Sedgewick, Sleator, Tarjan, "The pairing heap", 1986. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct heap_node {
    bool in; /* a heap has it */
    int64_t key;
    struct heap_node *child, *next,
        *previous; /* previous: left sibling, or a first child's parent */
};

struct heap {
    struct heap_node *least; /* NULL: it is empty */
};

/* Takes one that is in it already: its key changes. */
void heap_put(struct heap *heap, struct heap_node *node, int64_t key);
/* Out of it. Takes one that isn't in it too. */
void heap_take(struct heap *heap, struct heap_node *node);
