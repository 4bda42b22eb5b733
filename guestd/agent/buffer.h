/*
 * Buffers that frames are read into, counted so that a receiver can keep a frame's bytes without
 * copying them (call.h documents struct buffer, buffer_ref and buffer_unref). Large ones are kept
 * for reuse while uploads run: a fresh 256 KiB from the kernel costs as many page faults as writing
 * it to a file does.
 */
#pragma once

#include <stddef.h>

#include "agent/call.h"

/* One reference, at least `cap` bytes; NULL without memory. */
struct buffer *buffer_new(size_t cap);

/* Gives the kept ones back to the system: no upload runs any more. */
void buffer_trim(void);
