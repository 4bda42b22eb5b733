/* A result of many fields for a person: one a line, a map's fields below its name. */
#pragma once

#include "proto/client/guestctl.h"

void show_fields(const msgpack_object *map);

/* A whole command without options: asks `method`, which takes no params, and prints its result.
 * Returns the exit code.
 */
int show_method(struct ctl *ctl, const char *method);
