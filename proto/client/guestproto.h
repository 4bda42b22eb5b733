/*
 * libguestproto: a blocking client of guestd, the agent inside a capsule.
 *
 *     struct guestproto *client = guestproto_new(NULL);
 *     struct guestproto_params *params = guestproto_params_new();
 *     struct guestproto_reply reply;
 *
 *     guestproto_put_name(params, "path", "/etc/hostname");
 *     int r = guestproto_connect(client, "vsock:3:1024");
 *     if (r == 0)
 *         r = guestproto_call(client, "file.stat", params, &reply);
 *     if (r != 0)
 *         fprintf(stderr, "%s\n", guestproto_error(client)->message);
 *
 * Methods, params and results are those of PROTOCOL.md; nothing is renamed on the way.
 *
 * Results. Every function that talks to the guest returns 0; or a positive enum guestproto_code:
 * the guest answered an error, or said why it closes the connection; or a negative errno: the
 * connection, the guest's bytes or this machine failed. After both kinds guestproto_error() tells
 * more.
 *
 * A negative errno leaves the connection closed; call guestproto_connect again. -EPROTO: the guest
 * broke the protocol. -ETIMEDOUT: see guestproto_options. -ECONNRESET: it went away. -ESTALE: it
 * came back, and what was asked about is gone. -ENOTCONN: there is no connection. The exceptions,
 * where the connection lives on, are -ENOMEM and -EMSGSIZE for a request that could not be made,
 * and a callback's own value.
 *
 * Lost connections. The agent may crash or be replaced, and programs, their output and their stdin
 * outlive it. So a request whose connection is lost is asked again on a new one where that does no
 * harm, for a bounded time, and `resumed` is told: an exec joins its run by its key (each has one:
 * a random one where the caller gave none), live output goes on at its offset, stdin where the
 * guest has it, an upload at its start, a download where it was; what only looks is asked again.
 * No byte of output is told twice, and none is missing without a gap. The rest (file.remove,
 * process.kill, guestproto_call_stream, …) fails with -ECONNRESET as it always did: nobody knows
 * whether it was done. So does all over `fd:`, which can't be connected again.
 *
 * Trust. Every byte of a guest is held to be hostile: lengths, nesting, object counts, types,
 * stream offsets and credits are checked, and memory grows with bytes that came, never with lengths
 * that were announced. What arrives is still the guest's word: escape it before it reaches a
 * terminal, and check a path before you use it on the host.
 *
 * A client is one connection. It is not for several threads at once; guestproto_cancel is the
 * exception. Nothing here logs, exits, installs signal handlers or keeps globals. SIGPIPE is never
 * raised.
 */
#pragma once

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GUESTPROTO_API __attribute__((visibility("default")))

/* ---- errors ---- */

/* What a guest answers when it fails; the numbers are this library's, the names the wire's. */
enum guestproto_code {
    GUESTPROTO_INVALID_REQUEST = 1,
    GUESTPROTO_WRONG_TYPE,
    GUESTPROTO_UNAUTHENTICATED,
    GUESTPROTO_PERMISSION_DENIED,
    GUESTPROTO_NOT_FOUND,
    GUESTPROTO_ALREADY_EXISTS,
    GUESTPROTO_BUSY,
    GUESTPROTO_TOO_LARGE,
    GUESTPROTO_LIMIT_EXCEEDED,
    GUESTPROTO_CANCELLED,
    GUESTPROTO_INTERNAL, /* also every code that this library does not know */
    GUESTPROTO_UNSUPPORTED,
    GUESTPROTO_TIMEOUT,
    GUESTPROTO_NO_SPACE,
};

/* "not_found", …; "internal" for anything else. */
GUESTPROTO_API const char *guestproto_code_name(int code);

struct guestproto_error {
    int code;            /* enum guestproto_code; 0: not the guest's answer, `err` tells */
    int err;             /* errno, positive; 0: none. A guest's errno is Linux's number of it */
    char field[128];     /* the param that was wrong, dotted ("limits.nofile"); "": none */
    char message[512];   /* for people, UTF-8; a guest's may hold anything, control characters
                            included */
    msgpack_object data; /* what the guest added, nil: nothing. Borrowed until the next call */
};

/* ---- the connection ---- */

struct guestproto;

struct guestproto_options {
    const char *client;     /* how to be called in the guest's log; NULL: "guestproto/VERSION" */
    const void *token;      /* borrowed until guestproto_free; NULL: none */
    size_t token_len;       /* bytes */
    uint32_t max_frame;     /* largest body to take, bytes; 0: 64 MiB */
    int connect_timeout_ms; /* for connecting and hello; 0: 10 s, < 0: none */
    /*
     * How long a call may take and a stream may be silent in both directions, ms; ≤ 0: no limit.
     * Then -ETIMEDOUT, and the connection is closed. The guest's own deadlines (`timeout` of exec)
     * are told in params, not here.
     */
    int timeout_ms;
    /* How long to look for a lost connection, ms, each time; 0: 10 s; < 0: a lost one is the end.
     */
    int resume_ms;
    /* The connection was lost, and method is asked again on a new one. where: what it goes on from,
     * "stdout 4096", or "". Must not call back into the client. */
    void (*resumed)(void *context, const char *method, const char *where);
    void *resumed_context;
    bool skip_hello; /* say nothing at first; then the limits below are PROTOCOL.md's defaults */
};

/* Makes a client without a connection. options may be NULL; they are copied, the token is not.
 * NULL: no memory. */
GUESTPROTO_API struct guestproto *guestproto_new(const struct guestproto_options *options);

/* Closes and frees; NULL is fine. Returns NULL. */
GUESTPROTO_API struct guestproto *guestproto_free(struct guestproto *client);

/*
 * Connects and says hello. address: `vsock:PORT`, `vsock:CID:PORT`, `unix:/path`, `tcp:HOST:PORT`,
 * `fd:N` (a connected socket, which then belongs to the client), `firecracker:/uds:PORT`. A
 * connection that is open is closed first. -EINVAL: no such address. Fails as hello does:
 * GUESTPROTO_UNAUTHENTICATED, GUESTPROTO_PERMISSION_DENIED, …
 */
GUESTPROTO_API int guestproto_connect(struct guestproto *client, const char *address);

/* What hello answered, a map; NULL before it did. Borrowed until guestproto_connect or
 * guestproto_free. */
GUESTPROTO_API const msgpack_object *guestproto_hello(const struct guestproto *client);

/* The last failure of this client. Its code and err are 0 before the first. Overwritten by the
 * next. */
GUESTPROTO_API const struct guestproto_error *guestproto_error(const struct guestproto *client);

/*
 * Asks the guest to cancel the request in flight, or the next one if there is none; the call still
 * waits for the guest's answer (for exec a result with `reason: cancelled`, else the error
 * GUESTPROTO_CANCELLED). May be called from another thread and from a signal handler.
 */
GUESTPROTO_API void guestproto_cancel(struct guestproto *client);

/*
 * The size of the caller's terminal, rows and columns 1 … 4096, for the program of the exec or
 * attach in flight, or the next one: sent as process.resize once it has started. The newest wins.
 * May be called from another thread and from a signal handler (SIGWINCH).
 */
GUESTPROTO_API void guestproto_set_size(struct guestproto *client, unsigned rows, unsigned cols);

/* ---- params ---- */

/*
 * The params of one request: a map under construction. Memory that runs out is remembered and told
 * by the call. Each key may be put once: the guest refuses repeated keys.
 */
struct guestproto_params;

GUESTPROTO_API struct guestproto_params *guestproto_params_new(void); /* NULL: no memory */
GUESTPROTO_API struct guestproto_params *
guestproto_params_free(struct guestproto_params *params); /* returns NULL */

/* str: text that is UTF-8. NULL puts nothing, here and in put_name. */
GUESTPROTO_API void guestproto_put_text(struct guestproto_params *params, const char *key,
                                        const char *text);
/* str where it is UTF-8, else bin: paths, names, arguments. */
GUESTPROTO_API void guestproto_put_name(struct guestproto_params *params, const char *key,
                                        const char *name);
GUESTPROTO_API void guestproto_put_bytes(struct guestproto_params *params, const char *key,
                                         const void *data, size_t len);
GUESTPROTO_API void guestproto_put_int(struct guestproto_params *params, const char *key,
                                       int64_t value);
GUESTPROTO_API void guestproto_put_number(struct guestproto_params *params, const char *key,
                                          double value);
GUESTPROTO_API void guestproto_put_bool(struct guestproto_params *params, const char *key,
                                        bool value);
/* An array of n names. */
GUESTPROTO_API void guestproto_put_names(struct guestproto_params *params, const char *key,
                                         char *const *names, size_t n);
/* A map out of n texts "NAME=VALUE"; a text without '=' unsets: its value is nil. The later of two
 * wins. */
GUESTPROTO_API void guestproto_put_envs(struct guestproto_params *params, const char *key,
                                        char *const *envs, size_t n);
/* A process by pid (digits only) or by tag. */
GUESTPROTO_API void guestproto_put_selector(struct guestproto_params *params,
                                            const char *pid_or_tag);
/* Puts the key; the caller packs exactly one value with the packer, which is good until the next
 * put. */
GUESTPROTO_API msgpack_packer *guestproto_put(struct guestproto_params *params, const char *key);

/* ---- calls ---- */

/* A guest's answer. Zero it to have something that guestproto_reply_free takes. */
struct guestproto_reply {
    msgpack_object result; /* a map, at most 16 levels deep, its lengths checked */
    void *owner;           /* the memory behind it */
};

/* Frees what result points to; a second call does nothing. */
GUESTPROTO_API void guestproto_reply_free(struct guestproto_reply *reply);

/*
 * One request, one answer. params may be NULL (an empty map) and stay the caller's. ret_reply may
 * be NULL; it is set on success only and is then freed by the caller. -EMSGSIZE: larger than the
 * guest takes.
 */
GUESTPROTO_API int guestproto_call(struct guestproto *client, const char *method,
                                   const struct guestproto_params *params,
                                   struct guestproto_reply *ret_reply);

/*
 * The far end of a request with a stream. Every callback may be NULL; data and texts are borrowed
 * for the callback's time. Callbacks return 0 to go on or a negative errno, and that cancels: the
 * guest is told, what it still sends is dropped, and the call returns that value once the guest has
 * answered. They must not call back into the client.
 */
struct guestproto_stream {
    void *context; /* the callbacks' first argument */

    /* Bytes that the guest may send before they are consumed: the param `window`, put by the call.
     * 0: not put, 1 MiB. */
    uint64_t window;

    int (*event)(void *context, const char *event, const msgpack_object *params);
    /* off: absolute, in bytes: where the channel's last data or gap ended. */
    int (*data)(void *context, const char *channel, uint64_t off, const void *data, size_t len);
    /* The bytes from … to-1 are gone. */
    int (*gap)(void *context, const char *channel, uint64_t from, uint64_t to);
    int (*end)(void *context, const char *channel, uint64_t off);

    /*
     * What goes up: fills buf with at most len bytes and returns how many, 0 at the end (then
     * `stream.end` is sent), or a negative errno. Called only when the guest has room for all of
     * it. -EAGAIN: nothing now, when source_fd was ready.
     */
    ssize_t (*source)(void *context, void *buf, size_t len);
    /* With poll_source, source is called only when this is readable, so that a slow pipe does not
     * hide the guest. */
    int source_fd;
    bool poll_source;
    /* Told after each piece, with the sum of bytes sent so far. */
    void (*sent)(void *context, uint64_t bytes);
};

/* A request that opens a stream. As guestproto_call, with the stream served until the answer ends
 * it. */
GUESTPROTO_API int guestproto_call_stream(struct guestproto *client, const char *method,
                                          const struct guestproto_params *params,
                                          const struct guestproto_stream *stream,
                                          struct guestproto_reply *ret_reply);

/* ---- operations that are more than a call ---- */

enum guestproto_channel {
    GUESTPROTO_STDOUT,
    GUESTPROTO_STDERR,
    GUESTPROTO_PTY,
};

struct guestproto_started {
    int64_t pid;
    const char *tag;
    uint64_t stdin_off; /* bytes of its stdin that were taken before: by a run that was joined */
};

/* Callbacks, and what goes up, as in struct guestproto_stream; all may be NULL. */
struct guestproto_exec {
    void *context;
    uint64_t window; /* bytes; 0: 512 KiB, attached 1 MiB */
    /* Again after each lost connection. */
    int (*started)(void *context, const struct guestproto_started *started);
    int (*output)(void *context, enum guestproto_channel channel, uint64_t off, const void *data,
                  size_t len);
    int (*gap)(void *context, enum guestproto_channel channel, uint64_t from, uint64_t to);
    int (*end)(void *context, enum guestproto_channel channel, uint64_t off);
    /* The program's stdin, which must be open. Its end closes an exec's, and nothing when attached.
     * Kept by the library until the guest has it. */
    ssize_t (*input)(void *context, void *buf, size_t len);
    int input_fd;
    bool poll_input;
    /* exec: the output is collected and comes in the reply, or later (`background`); of the
     * callbacks only input is called. */
    bool captured;
};

/*
 * Runs a program: `exec`, with its output live by `stream: true`, which the call puts. params: at
 * least `cmd`; with input also `stdin_open` or `pty`. The reply of a live one is the result without
 * stdout and stderr; a program that ran and failed is a success here. With a key that was used, it
 * joins that run and hears it from its oldest byte that is kept.
 *
 * A captured program whose input came from here can't be found again after a lost connection.
 */
GUESTPROTO_API int guestproto_exec(struct guestproto *client, struct guestproto_params *params,
                                   const struct guestproto_exec *exec,
                                   struct guestproto_reply *ret_reply);

/*
 * Watches a program that runs, or ran: `process.attach`. params: a selector, and `from`. The reply
 * is its record, once it has ended. Cancelled: GUESTPROTO_CANCELLED, and the program goes on.
 */
GUESTPROTO_API int guestproto_attach(struct guestproto *client,
                                     const struct guestproto_params *params,
                                     const struct guestproto_exec *exec,
                                     struct guestproto_reply *ret_reply);

/* Told how many bytes have gone; NULL: nobody asks. */
typedef void guestproto_progress(void *context, uint64_t bytes);

/*
 * Sends what fd gives until its end to a program's open stdin: `process.input`. params: a selector
 * only. Returns when the guest has taken all; the stdin stays open (`process.close_stdin`). -EPIPE,
 * and the connection lives: the program reads no more. -ECANCELED, the same: guestproto_cancel.
 */
GUESTPROTO_API int guestproto_input_fd(struct guestproto *client,
                                       const struct guestproto_params *params, int fd,
                                       guestproto_progress *progress, void *context);

/*
 * Uploads what fd gives until its end: `file.write` with `stream: true`, which the call puts.
 * params: at least `path`. fd is read from where it stands, and stays the caller's. After a lost
 * connection a regular file is sent again, unless it is appended; progress begins anew.
 */
GUESTPROTO_API int guestproto_upload_fd(struct guestproto *client, struct guestproto_params *params,
                                        int fd, guestproto_progress *progress, void *context,
                                        struct guestproto_reply *ret_reply);

/*
 * Downloads into fd: `file.read` with `stream: true`, which the call puts. params: at least `path`.
 * A full disk or a closed pipe on this side is the negative errno of write(2), and the connection
 * lives.
 */
GUESTPROTO_API int guestproto_download_fd(struct guestproto *client,
                                          struct guestproto_params *params, int fd,
                                          guestproto_progress *progress, void *context,
                                          struct guestproto_reply *ret_reply);

/* One entry, still as MessagePack: guestproto_entry_read gives it its types. */
typedef int guestproto_on_entry(void *context, const msgpack_object *entry);

/* Lists: `file.list` with `stream: true`, which the call puts. on_entry as the callbacks of a
 * stream. */
GUESTPROTO_API int guestproto_list(struct guestproto *client, struct guestproto_params *params,
                                   guestproto_on_entry *on_entry, void *context,
                                   struct guestproto_reply *ret_reply);

/* ---- reading what came ---- */

/* Bytes of somebody else's memory, without a NUL. Empty: len 0 and data not NULL. Absent: data
 * NULL. */
struct guestproto_bytes {
    const char *data;
    size_t len;
};

/* The value of a key in a map; NULL: absent, nil, or no map at all. Of a repeated key the first. */
GUESTPROTO_API const msgpack_object *guestproto_get(const msgpack_object *map, const char *key);

/* True, and *ret set, where the key is there with that type (and range). str and bin are both
 * bytes. */
GUESTPROTO_API bool guestproto_get_bytes(const msgpack_object *map, const char *key,
                                         struct guestproto_bytes *ret);
GUESTPROTO_API bool guestproto_get_int(const msgpack_object *map, const char *key, int64_t *ret);
GUESTPROTO_API bool guestproto_get_uint(const msgpack_object *map, const char *key, uint64_t *ret);
GUESTPROTO_API bool guestproto_get_number(const msgpack_object *map, const char *key, double *ret);
GUESTPROTO_API bool guestproto_get_bool(const msgpack_object *map, const char *key, bool *ret);
/* True where the key is there and is exactly this text. */
GUESTPROTO_API bool guestproto_get_is(const msgpack_object *map, const char *key, const char *text);

/* A file, directory or other thing in the guest, borrowed from what it was read from. */
struct guestproto_entry {
    struct guestproto_bytes name, path;
    struct guestproto_bytes type;        /* "file", "directory", "symlink", "fifo", "socket", … */
    struct guestproto_bytes permissions; /* "drwxr-xr-x" */
    struct guestproto_bytes owner, group;   /* names, or the number as text */
    struct guestproto_bytes symlink_target; /* absent unless a symlink */
    uint64_t size;                          /* bytes */
    uint32_t mode;                          /* the 12 permission bits */
    int64_t modified_at;                    /* unix seconds */
};

/* False where the object is no entry: name, path, type or size missing or of a wrong type. */
GUESTPROTO_API bool guestproto_entry_read(const msgpack_object *object,
                                          struct guestproto_entry *ret);

#ifdef __cplusplus
}
#endif
