/*
 * Params against a table that has every type of field: whatever comes, the struct holds only what
 * its types promise, or the failure names a code, text that is valid, and no more.
 *
 * The input is a params map, or a whole request body whose params are then taken.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/fields.h"
#include "proto/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const scopes[] = {"tree", "group", "leader", NULL};

struct pty {
    uint64_t present;
    int64_t rows, cols;
    const char *term;
};

static const struct field pty_fields[] = {
    FIELD(pty, rows, INT, .min = 1, .max = 65535, .required = true),
    FIELD(pty, cols, INT, .min = 1, .max = 65535, .otherwise.i = 80),
    FIELD(pty, term, STR, .max_len = 16, .otherwise.s = "xterm"),
    FIELD_LATER("pixels"),
    FIELDS_END,
};

/* Names of real operations too, so that the vectors say something here. */
struct rich {
    uint64_t present;
    const char *cmd, *path, *tag;
    struct strv args;
    struct envs envs;
    double timeout;
    bool background, stream;
    int64_t mode, off;
    uint64_t generation, bytes;
    struct slice data, stdin;
    int scope;
    struct pty pty;
    msgpack_object signal;
};

enum { CMD, PATH, TAG, ARGS, ENVS, TIMEOUT, BACKGROUND, STREAM, MODE, OFF, GENERATION, BYTES };
enum { DATA = BYTES + 1, STDIN, SCOPE, PTY, SIGNAL };

static const struct field fields[] = {
    [CMD] = FIELD(rich, cmd, NAME, .max_len = 4096),
    [PATH] = FIELD(rich, path, PATH),
    [TAG] = FIELD(rich, tag, STR, .max_len = 128, .otherwise.s = "bg"),
    [ARGS] = FIELD(rich, args, NAMES, .max_len = 100),
    [ENVS] = FIELD(rich, envs, ENVS),
    [TIMEOUT] = FIELD(rich, timeout, NUMBER, .max = 1000, .otherwise.d = 30),
    [BACKGROUND] = FIELD(rich, background, BOOL),
    [STREAM] = FIELD(rich, stream, BOOL, .otherwise.b = true),
    [MODE] = FIELD(rich, mode, INT, .min = 0, .max = 07777),
    [OFF] = FIELD(rich, off, INT),
    [GENERATION] = FIELD(rich, generation, UINT),
    [BYTES] = FIELD(rich, bytes, UINT, .min = 1, .max = 100),
    [DATA] = FIELD(rich, data, BYTES, .max_len = 1000),
    [STDIN] = FIELD(rich, stdin, BYTES),
    [SCOPE] = FIELD(rich, scope, CHOICE, .choices = scopes, .otherwise.choice = 2),
    [PTY] = FIELD(rich, pty, MAP, .fields = pty_fields),
    [SIGNAL] = FIELD(rich, signal, ANY),
    FIELD_LATER("key"),
    FIELDS_END,
};

static void expect(bool truth) {
    if (!truth)
        abort();
}

static bool text(const char *t) {
    return t && utf8_valid(t, strlen(t));
}

static void check_pty(const struct pty *pty) {
    expect(pty->present & 1);
    expect(pty->rows >= 1 && pty->rows <= 65535 && pty->cols >= 1 && pty->cols <= 65535);
    expect(text(pty->term) && strlen(pty->term) <= 16);
}

static void check_envs(const struct envs *envs) {
    for (size_t i = 0; i < envs->n; i++) {
        const struct env *env = &envs->v[i];

        expect(env->name[0] && !strchr(env->name, '='));
        for (size_t k = 0; k < i && envs->n < 64; k++)
            expect(strcmp(envs->v[k].name, env->name) != 0);
        if (env->value)
            expect(strlen(env->value) < SIZE_MAX); /* it can be read to its end */
    }
}

static void check(const struct rich *rich) {
    const uint64_t *present = &rich->present;

#define GIVEN(i) (*present & (UINT64_C(1) << (i)))
    expect(!GIVEN(SIGNAL + 1)); /* LATER never is */
    expect(!GIVEN(CMD) || strlen(rich->cmd) <= 4096);
    expect(!GIVEN(PATH) || (rich->path[0] == '/' && strlen(rich->path) <= 4096));
    expect(!GIVEN(PATH) || (!strstr(rich->path, "//")));
    expect(text(rich->tag) && strlen(rich->tag) <= 128);
    expect(rich->args.n <= 100 && (!GIVEN(ARGS) || rich->args.v[rich->args.n] == NULL));
    for (size_t i = 0; i < rich->args.n; i++)
        expect(strlen(rich->args.v[i]) < SIZE_MAX);
    check_envs(&rich->envs);
    expect(isfinite(rich->timeout) && rich->timeout >= 0 && rich->timeout <= 1000);
    expect(rich->mode >= 0 && rich->mode <= 07777);
    expect(!GIVEN(BYTES) || (rich->bytes >= 1 && rich->bytes <= 100));
    expect(!!GIVEN(DATA) == !!rich->data.data && rich->data.len <= 1000);
    expect(!!GIVEN(STDIN) == !!rich->stdin.data);
    expect(rich->scope >= 0 && rich->scope <= 2);
    expect(GIVEN(PTY) || rich->pty.cols == 80);
    if (GIVEN(PTY))
        check_pty(&rich->pty);
}

static void decode(const msgpack_object *params) {
    struct rich rich = {0};
    struct arena arena = {0};
    struct failure failure = {0};
    int r = fields_decode(fields, params, &arena, &rich, &failure);

    if (r == 0) {
        check(&rich);
    } else {
        expect(r == STATUS_INVALID_REQUEST || r == STATUS_UNSUPPORTED);
        expect(r == (int)failure.code && text(failure.field) && text(failure.message));
        expect(failure.message[0]);
    }
    arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice body = {data, size};
    msgpack_object root;
    msgpack_zone zone;
    size_t used = 0;

    if (message_check(body, 16) != 0)
        return 0;
    expect(msgpack_zone_init(&zone, 1024));
    expect(msgpack_unpack((const char *)data, size, &used, &zone, &root) == MSGPACK_UNPACK_SUCCESS);
    if (root.type == MSGPACK_OBJECT_ARRAY && root.via.array.size == 4)
        decode(&root.via.array.ptr[3]);
    else
        decode(&root);
    msgpack_zone_destroy(&zone);
    return 0;
}
