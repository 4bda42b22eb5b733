/* MessagePack as JSON (RFC 8259): str as text with bad UTF-8 replaced, bin as base64, a float that
 * is no number as null. */
#pragma once

#include <msgpack.h>
#include <stdio.h>

void json_write(FILE *out, const msgpack_object *object);
void json_write_text(FILE *out, const char *text);
/* On stdout, with a newline. */
void json_print(const msgpack_object *object);
