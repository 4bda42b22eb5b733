/*
 * What the supervisor has to say, on stderr, one line each. It never waits: a reader that doesn't
 * take the line loses it. Payloads, environments and tokens are never said.
 */
#pragma once

void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
