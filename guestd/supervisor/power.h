/* The end of guestd: SIGTERM to all jobs, grace, SIGKILL, the agent's leave, sync, and then the
 * power state or the exit. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "link.h"
#include "supervisor/loop.h"

struct supervisor;

struct power {
    bool stopping; /* begun: no new jobs */
    bool killing;  /* the grace is over */
    bool leaving;  /* no job is left: the agent is asked to go */
    enum link_power_mode mode;
    int exit_code;
    struct deadline deadline; /* of the present stage */
};

void power_init(struct supervisor *supervisor);
/* Begins; a second time while jobs still have their grace, it is over. */
void power_begin(struct supervisor *supervisor, enum link_power_mode mode, uint32_t grace_ms);
/* PROGRAM's end is guestd's. */
void power_program_ended(struct supervisor *supervisor, int exit_code);
/* Something ended: goes on to the next stage if it was the last. */
void power_check(struct supervisor *supervisor);
/* After the loop: as the machine's init the power state (doesn't return), else the exit code. */
int power_finish(struct supervisor *supervisor);
