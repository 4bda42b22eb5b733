/*
 * Another executable for the agent: the old agent is dismissed, the next one starts from the new
 * file, and if it doesn't come to serve, the one after from the old file again. The jobs notice
 * nothing: it is what an agent's death is, but that the old one may send its last answers.
 *
 *   NONE → ANSWERING → LEAVING → TRYING → NONE
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "link.h"
#include "supervisor/deadline.h"

struct supervisor;

enum upgrade_stage {
    UPGRADE_NONE,
    UPGRADE_ANSWERING, /* LINK_DONE is owed to the old agent */
    UPGRADE_LEAVING,   /* the old agent is to go */
    UPGRADE_TRYING,    /* the new one isn't serving yet */
};

struct upgrade {
    enum upgrade_stage stage;
    int executable;                /* that agents are started from */
    int candidate;                 /* that it may be after this; -1: none */
    enum link_upgrade_state state; /* of the last one */
    double at;                     /* unix seconds; 0: never */
    struct deadline deadline;      /* of the stage */
};

/* Takes over the executable of the present guestd. */
void upgrade_init(struct supervisor *supervisor, int executable);
/* A LINK_UPGRADE; the fd is its business from now on. */
void upgrade_take(struct supervisor *supervisor, const struct link_upgrade *order, int fd);
/* Every LINK_DONE is out. */
void upgrade_told(struct supervisor *supervisor);
/* The agent was reaped. Whether the next one is upgrade's business, not the back-off's. */
bool upgrade_agent_gone(struct supervisor *supervisor);
/* The agent serves now. */
void upgrade_served(struct supervisor *supervisor);
/* What the next agent is started from. */
int upgrade_executable(const struct supervisor *supervisor);
/* What LINK_HELLO says to it: how it stands once it serves. */
enum link_upgrade_state upgrade_state(const struct supervisor *supervisor, double *ret_at);
