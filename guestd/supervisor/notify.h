/*
 * What a service manager that started guestd is told: READY=1 once an agent serves, WATCHDOG=1 all
 * along, where it wants that, and STOPPING=1. The protocol is sd_notify(3)'s. Nobody asked
 * (NOTIFY_SOCKET): nothing happens.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "supervisor/deadline.h"

struct supervisor;

struct notify {
    struct sockaddr_un address;
    socklen_t address_len; /* 0: nobody to be told */
    bool ready;
    int64_t watchdog_ns; /* from one to the next */
    struct deadline watchdog;
};

/* Reads the environment, and begins with the watchdog. */
void notify_init(struct supervisor *supervisor);
/* An agent serves: the first one makes guestd ready. */
void notify_served(struct supervisor *supervisor);
void notify_stopping(struct supervisor *supervisor);
