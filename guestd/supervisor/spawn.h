/* Starts: from the agent's order to a birth on a spawn thread, and back. Also starts that hang. */
#pragma once

struct link_spawn;
struct supervisor;

/* 0 or -errno. */
int spawn_init(struct supervisor *supervisor);
/* Takes over both memfds (input may be -1). Returns NULL, or what rule the order breaks. */
const char *spawn_take(struct supervisor *supervisor, const struct link_spawn *order, int spec,
                       int input);
