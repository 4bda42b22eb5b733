/*
 * What the file operations say alike: entries, and what went wrong.
 */
#pragma once

#include <msgpack.h>

#include "agent/call.h"
#include "files/entry.h"

/* The contract's entry, a map of ten. */
void file_pack_entry(msgpack_packer *pk, const struct entry *entry);

/* What a function of files/ answered, other than 0, in the wire's words: code, errno and the field
 * that is to blame. `path` is named in the message. */
void file_failure(struct failure *ret, int result, const char *path);
void file_fail(struct call *call, int result, const char *path);

/* Appends what is packed already. */
void file_pack_packed(msgpack_packer *pk, const msgpack_sbuffer *packed);
