/*
 * The local terminal: its size, and raw mode, which is given back however guestctl ends: by itself,
 * by TERM, HUP, INT, QUIT, by its own crash, and for as long as it is stopped. One a process.
 */
#pragma once

#include <stdbool.h>

struct guestproto;

/* Of the first of stdin, stdout, stderr that is a terminal; false: none is. */
bool terminal_size(unsigned *ret_rows, unsigned *ret_cols);

/* From now on the guest's program has this terminal's size, also when it changes. */
void terminal_follow_size(struct guestproto *client);

/*
 * Raw: each key goes to the program, ^C too, and its bytes to the screen as they are. The first
 * signal that would end guestctl cancels what the client does, a second one ends it. stdin is a
 * terminal. False, and errno: it can't be.
 */
bool terminal_raw(struct guestproto *client);
bool terminal_is_raw(void);
/* As it was before terminal_raw; may be repeated. */
void terminal_restore(void);
