/*
 * The way out of a raw terminal, as ssh(1) has it: `~.` at the beginning of a line. `~~` there is
 * one `~`; before any other key the `~` goes through with it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct escape {
    bool middle; /* of a line; zero: at its beginning */
    bool tilde;  /* held back: what follows decides */
    bool out;    /* `~.` came; what follows is dropped */
};

/* What is to be sent of `len` typed bytes, in place: `typed` has room for len + 1. Returns how many
 * bytes. */
size_t escape_filter(struct escape *escape, char *typed, size_t len);
