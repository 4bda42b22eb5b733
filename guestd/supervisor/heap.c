#include "supervisor/heap.h"

#include <stddef.h>

/* Both are roots without siblings; either may be NULL. */
static struct heap_node *meld(struct heap_node *a, struct heap_node *b) {
    if (a == NULL || b == NULL)
        return a != NULL ? a : b;
    if (b->key < a->key) {
        struct heap_node *swap = a;
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
static struct heap_node *meld_siblings(struct heap_node *first) {
    struct heap_node *pairs = NULL;
    while (first != NULL) {
        struct heap_node *a = first, *b = a->next;
        first = b != NULL ? b->next : NULL;
        a->next = a->previous = NULL;
        if (b != NULL)
            b->next = b->previous = NULL;
        struct heap_node *pair = meld(a, b);
        pair->next = pairs;
        pairs = pair;
    }
    struct heap_node *root = NULL;
    while (pairs != NULL) {
        struct heap_node *next = pairs->next;
        pairs->next = NULL;
        root = meld(root, pairs);
        pairs = next;
    }
    return root;
}

void heap_take(struct heap *heap, struct heap_node *node) {
    if (!node->in)
        return;
    node->in = false;
    struct heap_node *rest = meld_siblings(node->child);
    if (heap->least == node) {
        heap->least = rest;
    } else {
        if (node->previous->child == node)
            node->previous->child = node->next;
        else
            node->previous->next = node->next;
        if (node->next != NULL)
            node->next->previous = node->previous;
        heap->least = meld(heap->least, rest);
    }
    node->child = node->next = node->previous = NULL;
}

void heap_put(struct heap *heap, struct heap_node *node, int64_t key) {
    heap_take(heap, node);
    *node = (struct heap_node){.in = true, .key = key};
    heap->least = meld(heap->least, node);
}
