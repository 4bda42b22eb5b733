/* What a finished program's record means to the one who waited for it. */
#pragma once

#include "proto/client/guestctl.h"

/* The program's exit code as guestctl's own; EXIT_OWN where it could not be learnt. */
int outcome_exit_code(const msgpack_object *record);

/* Says on stderr what an exit code alone would hide: timed out, killed for its output, cut, … */
void outcome_remark(const struct ctl *ctl, const msgpack_object *record);

/* stdout and stderr of a record to this process's own. 0 or -errno. */
int outcome_output(const msgpack_object *record);
