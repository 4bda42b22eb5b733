/* All operations: what hello tells of them, and the one that a request names. */
#pragma once

#include <msgpack.h>

#include "ops/op.h"
#include "proto/frame.h"

/* The operation of that name, or NULL. */
const struct op *ops_find(struct slice name);

/* An array of every name. */
void ops_pack_names(msgpack_packer *pk);
