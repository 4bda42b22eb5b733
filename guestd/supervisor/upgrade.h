/*
 * Another executable for the agent: the old agent is dismissed, the next one starts from the new
 * file, and if it doesn't come to serve, the one after from the old file again. The jobs notice
 * nothing: it is what an agent's death is, but that the old one may send its last answers.
 *
 *   NONE → ANSWERING → LEAVING → TRYING → NONE
 *
 * With the supervisor the file is asked first, and executed between the agents (reexec.h):
 *
 *   NONE → ASKING → ANSWERING → LEAVING → CALMING → (exec) TRYING → NONE
 *
 * and where the new agent doesn't serve, once more the other way round: TRYING → CALMING → (exec)
 * NONE.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "link.h"
#include "supervisor/deadline.h"

struct saved_upgrade;
struct supervisor;

enum upgrade_stage {
    UPGRADE_NONE,
    UPGRADE_ASKING,    /* a child looks whether it could read our state */
    UPGRADE_ANSWERING, /* LINK_DONE is owed to the old agent */
    UPGRADE_LEAVING,   /* the old agent is to go */
    UPGRADE_CALMING,   /* there is no agent; threads finish what they have */
    UPGRADE_TRYING,    /* the new one isn't serving yet */
};

struct upgrade {
    enum upgrade_stage stage;
    int own;        /* that this process was executed from */
    int before;     /* the same, before the present trial; -1: the agent's alone */
    int executable; /* that agents are started from */
    int candidate;  /* that it may be after this; -1: none. The supervisor's too if … */
    bool too;       /* … the order was for both */
    enum link_upgrade_state state; /* of the last one */
    double at;                     /* unix seconds; 0: never */
    struct deadline deadline;      /* of the stage; CALMING: of the next look */
    pid_t asked;                   /* the child; 0: none */
    uint64_t request;              /* that is answered after it */
    int64_t calm_by_ns;            /* CALMING: not later */
};

/* Takes over the executable of the present guestd. */
void upgrade_init(struct supervisor *supervisor, int executable);
/* A LINK_UPGRADE; the fd is its business from now on. */
void upgrade_take(struct supervisor *supervisor, const struct link_upgrade *order, int fd);
/* Whether `pid` was the child that was asked. */
bool upgrade_reaped(struct supervisor *supervisor, pid_t pid, int wait_status);
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

/* As the file finds it that is executed next, or asked whether it could be. */
struct saved_upgrade upgrade_save(const struct supervisor *supervisor);
/* There. `returned` is the file that we are, when its successor could not take over; -1: this is
 * the successor. */
void upgrade_load(struct supervisor *supervisor, const struct saved_upgrade *saved, int returned);
