/*
 * Every limit that is told in `hello` and held (PROTOCOL.md, "Limits"), in one table.
 *
 * X(name, default, unit-or-meaning). Each is `--name-with-dashes N` on the command line,
 * `limits.name` in hello, and an index into the plain array that travels from main to the agent.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define LIMITS(X)                                                                    \
    X(connections, 64, "connections at once")                                        \
    X(requests, 256, "requests in flight on one connection")                         \
    X(processes, 4096, "running processes")                                          \
    X(max_frame, (1 << 20) + (64 << 10), "bytes in a frame's body, client to agent") \
    X(nesting, 16, "levels of arrays and maps in a frame")                           \
    X(queue_connection, 8 << 20, "bytes queued to one connection")                   \
    X(queue_total, 64 << 20, "bytes queued to all connections")                      \
    X(stdin_buffer, 1 << 20, "bytes of stdin held for one process")                  \
    X(stream_credit, 256 << 10, "bytes a client may send on a new stream")           \
    X(max_output, 64 << 20, "largest max_output, bytes a stream")                    \
    X(output_total, 256 << 20, "bytes of output kept for all processes")             \
    X(retained, 1024, "exited processes that are remembered")                        \
    X(retained_s, 600, "seconds an exited process is remembered")                    \
    X(watches, 64, "file watches at once")                                           \
    X(list_batch, 1024, "entries in one event of a streamed listing")                \
    X(stall_s, 60, "seconds a connection may take nothing while data waits")         \
    X(ping_ms, 250, "milliseconds in which ping answers under load")

enum limit {
#define X(name, value, help) LIMIT_##name,
    LIMITS(X)
#undef X
        LIMIT_COUNT,
};

/* The window a stream starts with when its request names none. PROTOCOL.md, "Streams". */
#define DEFAULT_WINDOW (1u << 20)
#define MAX_WINDOW (1u << 31)
/* The largest frame a client takes unless its hello says otherwise. */
#define DEFAULT_CLIENT_FRAME (64u << 20)
/* How many MessagePack objects one frame may hold: msgpack-c spends 24 bytes on each. */
#define MAX_OBJECTS (256u << 10)
#define MAX_UNAUTHENTICATED 8
#define HELLO_TIMEOUT_MS 10000
#define PROTOCOL_VERSION 1
#define DEFAULT_PORT 1024
