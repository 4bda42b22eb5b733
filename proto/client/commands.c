/* Every command by name. */
#include <string.h>

#include "proto/client/commands.h"

const struct command *const commands[] = {
    &cmd_exec,  &cmd_ps,   &cmd_attach,  &cmd_wait,    &cmd_input,    &cmd_kill, &cmd_forget,
    &cmd_write, &cmd_read, &cmd_ls,      &cmd_stat,    &cmd_mkdir,    &cmd_rm,   &cmd_hello,
    &cmd_ping,  &cmd_info, &cmd_metrics, &cmd_upgrade, &cmd_shutdown, NULL,
};

const char *const commands_later[] = {
    "mv", "watch", "forward", "configure", "log", "cp", "shell", "top", NULL,
};

const struct command *command_find(const char *name) {
    for (const struct command *const *command = commands; *command; command++)
        if (strcmp((*command)->name, name) == 0)
            return *command;
    return NULL;
}
