/*
 * What PID 1 does before anything else: the file systems every program expects, and as the
 * machine's init also console, loopback, hostname and PATH. What is there already stays as it is;
 * what fails is said and nothing more: a capsule that is half set up can still be asked why.
 */
#pragma once

#include <stdbool.h>

/* PID 1 of the initial pid namespace. Needs /proc: boot_proc first. */
bool boot_is_init(void);
/* For any PID 1: mounts /proc if there is none. */
void boot_proc(void);
/* For the machine's init: the rest of the file systems, the console on fds 0 to 2. */
void boot_machine(void);
/* For the machine's init: PATH, and a name: `hostname`, else /etc/hostname, else capsule. */
void boot_names(const char *hostname);
/* For the machine's init: raises the loopback. */
void boot_network(void);
