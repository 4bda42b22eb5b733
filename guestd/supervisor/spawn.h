/* Starts: from the agent's order to a birth on a spawn thread, and back. Also starts that hang. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct link_spawn;
struct spec_source;
struct supervisor;
struct task;

/* 0 or -errno. */
int spawn_init(struct supervisor *supervisor);
/* Takes over the spec and the memfd of stdin (-1: none). Returns NULL, or what rule the order
 * breaks. */
const char *spawn_take(struct supervisor *supervisor, const struct link_spawn *order,
                       struct spec_source *spec, int input);
/* What admission_ask said would come. False: there is no memory for it. */
void spawn_admitted(struct task *task, bool admitted);
/* For an order that can't be taken: the agent is told, now or when the link has room. */
void spawn_refuse(struct supervisor *supervisor, uint64_t job, int err, uint32_t stage);
/* SIGKILL to what is waited for in a start that is under way, if there is somebody already. */
void spawn_kill(struct task *task);
