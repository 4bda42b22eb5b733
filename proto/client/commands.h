/* The commands, one a file cmd_NAME.c. */
#pragma once

#include "proto/client/guestctl.h"

extern const struct command cmd_exec, cmd_ps, cmd_attach, cmd_wait, cmd_input, cmd_kill, cmd_forget;
extern const struct command cmd_write, cmd_read, cmd_ls, cmd_stat, cmd_mkdir, cmd_rm;
extern const struct command cmd_hello, cmd_ping, cmd_info, cmd_metrics, cmd_upgrade, cmd_shutdown;
