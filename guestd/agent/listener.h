/* A listening socket that the supervisor made and keeps: the agent only accepts from it. */
#pragma once

#include "agent/agent.h"

/* Starts accepting from `fd`, which it takes in any case. NULL and a line in the log when it can't
 * be. */
struct listener *listener_new(struct agent *agent, int fd, const struct link_listener *about);
/* Ends later, freed in its close callback. Takes NULL. */
void listener_close(struct listener *listener);
