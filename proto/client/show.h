/* A result of many fields for a person: one a line, a map's fields below its name. */
#pragma once

#include "proto/client/guestproto.h"

void show_fields(const msgpack_object *map);
