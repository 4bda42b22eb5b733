/*
 * Whether two requests ask the same: a digest of decoded params. The order in which a client sent
 * them, nil or absent, the width of an integer, str or bin make no difference; what is given as its
 * default is as if absent, so that a table that grows by a field leaves old digests as they are.
 * (Inside a map, what is given counts.)
 */
#pragma once

#include <stdint.h>

#include "proto/fields.h"

#define PARAMS_DIGEST 32 /* SHA-256 */

/* `except`: names, NULL at the end, that don't count. Returns 0 or -ENOMEM. */
int params_digest(const struct field *fields, const void *params, const char *const *except,
                  uint8_t ret[PARAMS_DIGEST]);
