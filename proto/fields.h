/*
 * Params by table: an operation lists its fields once; the table is its documentation, its decoder
 * and the fuzzer's grammar. Decoding copies into an arena, so borrowing from the frame ends here.
 *
 *     struct mkdir_params {
 *         uint64_t present;
 *         const char *path;
 *         int64_t mode;
 *         bool parents;
 *     };
 *     static const struct field fields[] = {
 *         FIELD(mkdir_params, path, PATH, .required = true),
 *         FIELD(mkdir_params, mode, INT, .min = 0, .max = 07777, .otherwise.i = 0755),
 *         FIELD(mkdir_params, parents, BOOL, .otherwise.b = true),
 *         FIELD_LATER("follow"),
 *         FIELDS_END,
 *     };
 *
 * Every params struct begins with `uint64_t present`: bit i is set when the i-th field of the table
 * was given (not nil). An unknown or repeated key, a wrong type, a missing required field, a value
 * out of range is STATUS_INVALID_REQUEST with the field's (dotted) name; a FIELD_LATER that is
 * given and not nil is STATUS_UNSUPPORTED. A str that is not valid UTF-8 is refused whatever the
 * type. What is wrong inside a NAMES or ENVS names the field itself ("args", "envs").
 */
#pragma once

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/frame.h"
#include "proto/status.h"

/* Memory that lives as long as one request. Freed at once by arena_deinit. */
struct arena {
    struct arena_block *blocks;
};
void *arena_alloc(struct arena *arena, size_t len); /* zeroed; NULL: no memory */
char *arena_strndup(struct arena *arena, const void *text, size_t len); /* NUL-terminated copy */
void arena_deinit(struct arena *arena);

struct strv { /* NULL-terminated for convenience */
    size_t n;
    char **v;
};
struct env {
    char *name;
    char *value; /* NULL: unset */
};
struct envs {
    size_t n;
    struct env *v;
};

/* Each with the C type of its member. */
enum field_type {
    FIELD_TYPE_BOOL,   /* bool */
    FIELD_TYPE_INT,    /* int64_t in [min, max] when max > min; any integer width, no float */
    FIELD_TYPE_UINT,   /* uint64_t from min; max applies when it is not 0 */
    FIELD_TYPE_NUMBER, /* double, finite, not negative; an integer is taken too; max as above */
    FIELD_TYPE_STR,    /* const char *: str, valid UTF-8, no NUL */
    FIELD_TYPE_NAME,   /* const char *: str or bin, no NUL (args, file names) */
    FIELD_TYPE_PATH,   /* const char *: NAME, absolute, at most 4096 bytes, see path_clean */
    FIELD_TYPE_BYTES,  /* struct slice: bin or str, copied; given but empty is not NULL */
    FIELD_TYPE_NAMES,  /* struct strv: array of NAME */
    FIELD_TYPE_ENVS,   /* struct envs: map of name (not empty, no '=') to NAME or nil */
    FIELD_TYPE_CHOICE, /* int: index into .choices, a NULL-terminated array of names */
    FIELD_TYPE_MAP,    /* a params struct of its own, with its `present`; table in .fields */
    FIELD_TYPE_ANY,    /* msgpack_object, borrowed: only for the frame's life */
    FIELD_TYPE_LATER,  /* nothing: known by name, not yet possible */
};

struct field {
    const char *name;
    enum field_type type;
    size_t offset;
    bool required;
    int64_t min, max;
    size_t max_len; /* STR, NAME, BYTES: bytes; NAMES, ENVS: items; 0: no limit of its own */
    const char *const *choices;
    const struct field *fields;
    union {
        bool b;
        int64_t i;
        uint64_t u;
        double d;
        const char *s;
        int choice;
    } otherwise; /* the value when absent; zero unless said */
};

#define FIELD(owner, member, kind, ...)                                                       \
    {                                                                                         \
        .name = #member, .type = FIELD_TYPE_##kind, .offset = offsetof(struct owner, member), \
        __VA_ARGS__                                                                           \
    }
#define FIELD_LATER(text) \
    { .name = text, .type = FIELD_TYPE_LATER }
#define FIELDS_END \
    { .name = NULL }

/* What was wrong: goes to the client as {code, message, errno?, field?}. */
struct failure {
    enum status code;
    int err; /* positive errno, 0: none */
    char field[64];
    char message[256];
};

/* Fills it; field may be NULL. Returns code, so that callers can `return failure_set(…)`. */
int failure_set(struct failure *failure, enum status code, int err, const char *field,
                const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/*
 * Decodes the map `params` into the zeroed struct at `out`. Returns 0, or a positive enum status
 * with *ret_failure filled (STATUS_INTERNAL with ENOMEM when memory is short). Everything it
 * allocates is in the arena.
 */
int fields_decode(const struct field *fields, const msgpack_object *params, struct arena *arena,
                  void *out, struct failure *ret_failure);

/* Cleans an absolute path in place: doubled and trailing slashes go, "." and ".." stay. Returns 0
 * or -EINVAL (not absolute, empty), -ENAMETOOLONG (over 4096 bytes). */
int path_clean(char *path);
