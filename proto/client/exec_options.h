/* exec's options, which cmd_exec.c runs by. */
#pragma once

#include "proto/client/guestctl.h"

struct exec_options {
    bool background, capture, input, terminal, keyed;
    uint64_t window;
    const char *encoding;
    char **envs; /* these two as many as there are arguments is room enough */
    const char **limits;
    size_t n_envs, n_limits;
};

extern const struct option_row exec_option_rows[];

/* Takes one option into params or exec. 0, or -1: told. */
int exec_option_take(struct ctl *ctl, int key, const char *argument, struct exec_options *exec,
                     struct guestproto_params *params);
/* Puts `limits`, if there are any. False: told. */
bool exec_options_put_limits(struct ctl *ctl, const struct exec_options *exec,
                             struct guestproto_params *params);
