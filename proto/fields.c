/* Params by table. A value is checked and copied in one step; the first thing that is wrong ends
 * it. */
#include "proto/fields.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/message.h"

#define FIELDS_MAX 64 /* bits of `present` */

/* What the functions below share: where copies go, and where a complaint goes. */
struct decode {
    struct arena *arena;
    struct failure *failure;
    const char *prefix; /* "" or "limits." */
};

static int complain(const struct decode *d, enum status code, const char *name, size_t name_len,
                    const char *what) {
    char field[sizeof(d->failure->field)];

    snprintf(field, sizeof(field), "%s%.*s", d->prefix, (int)(name_len < 64 ? name_len : 64),
             name_len ? name : "");
    return failure_set(d->failure, code, 0, field, "%s: %s", field, what);
}

static int refuse(const struct decode *d, const struct field *field, const char *what) {
    return complain(d, STATUS_INVALID_REQUEST, field->name, strlen(field->name), what);
}

static int no_memory(const struct decode *d) {
    return failure_set(d->failure, STATUS_INTERNAL, ENOMEM, NULL, "out of memory");
}

static bool is_text(const msgpack_object *value) {
    return value->type == MSGPACK_OBJECT_STR && utf8_valid(value->via.str.ptr, value->via.str.size);
}

/* The bytes of a bin, or of a str that is valid UTF-8. msgpack-c's NULL for an empty one becomes
 * "". */
static bool bytes_of(const msgpack_object *value, struct slice *ret) {
    if (value->type == MSGPACK_OBJECT_BIN)
        *ret = (struct slice){(const uint8_t *)value->via.bin.ptr, value->via.bin.size};
    else if (is_text(value))
        *ret = (struct slice){(const uint8_t *)value->via.str.ptr, value->via.str.size};
    else
        return false;
    if (ret->len == 0)
        ret->data = (const uint8_t *)"";
    return true;
}

static int decode_int(const struct decode *d, const struct field *field,
                      const msgpack_object *value, int64_t *out) {
    if (value->type != MSGPACK_OBJECT_POSITIVE_INTEGER &&
        value->type != MSGPACK_OBJECT_NEGATIVE_INTEGER)
        return refuse(d, field, "must be an integer");
    if (value->type == MSGPACK_OBJECT_POSITIVE_INTEGER && value->via.u64 > INT64_MAX)
        return refuse(d, field, "is out of range");
    if (field->max > field->min && (value->via.i64 < field->min || value->via.i64 > field->max))
        return refuse(d, field, "is out of range");
    *out = value->via.i64;
    return 0;
}

static int decode_uint(const struct decode *d, const struct field *field,
                       const msgpack_object *value, uint64_t *out) {
    if (value->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        return refuse(d, field, "is out of range");
    if (value->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return refuse(d, field, "must be an integer");
    if (value->via.u64 < (uint64_t)field->min ||
        (field->max && value->via.u64 > (uint64_t)field->max))
        return refuse(d, field, "is out of range");
    *out = value->via.u64;
    return 0;
}

static int decode_number(const struct decode *d, const struct field *field,
                         const msgpack_object *value, double *out) {
    double number;

    if (value->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        number = (double)value->via.u64;
    else if (value->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        number = (double)value->via.i64;
    else if (value->type == MSGPACK_OBJECT_FLOAT32 || value->type == MSGPACK_OBJECT_FLOAT64)
        number = value->via.f64;
    else
        return refuse(d, field, "must be a number");
    if (!isfinite(number) || number < 0)
        return refuse(d, field, "must be finite and not negative");
    if (field->max && number > (double)field->max)
        return refuse(d, field, "is out of range");
    *out = number;
    return 0;
}

/* A copy of what must be text: STR, or NAME and PATH which may be bin. */
static int copy_text(const struct decode *d, const struct field *field, const msgpack_object *value,
                     char **ret) {
    struct slice bytes;

    if (field->type == FIELD_TYPE_STR && value->type != MSGPACK_OBJECT_STR)
        return refuse(d, field, "must be a str");
    if (!bytes_of(value, &bytes))
        return refuse(d, field,
                      value->type == MSGPACK_OBJECT_STR ? "is not valid UTF-8"
                                                        : "must be a str or bin");
    if (memchr(bytes.data, '\0', bytes.len))
        return refuse(d, field, "holds a NUL");
    *ret = arena_strndup(d->arena, bytes.data, bytes.len);
    return *ret ? 0 : no_memory(d);
}

static int decode_text(const struct decode *d, const struct field *field,
                       const msgpack_object *value, const char **out) {
    size_t len = value->type == MSGPACK_OBJECT_STR   ? value->via.str.size
                 : value->type == MSGPACK_OBJECT_BIN ? value->via.bin.size
                                                     : 0;
    char *copy = NULL;
    int r;

    if (field->max_len && len > field->max_len)
        return refuse(d, field, "is too long");
    r = copy_text(d, field, value, &copy);
    if (r)
        return r;
    if (field->type == FIELD_TYPE_PATH) {
        r = path_clean(copy);
        if (r)
            return refuse(d, field,
                          r == -ENAMETOOLONG ? "is longer than 4096 bytes"
                                             : "must be an absolute path");
    }
    *out = copy;
    return 0;
}

static int decode_bytes(const struct decode *d, const struct field *field,
                        const msgpack_object *value, struct slice *out) {
    struct slice bytes;
    char *copy;

    if (!bytes_of(value, &bytes))
        return refuse(d, field, "must be bin, or a str of valid UTF-8");
    if (field->max_len && bytes.len > field->max_len)
        return refuse(d, field, "is too long");
    copy = arena_strndup(d->arena, bytes.data, bytes.len);
    if (!copy)
        return no_memory(d);
    *out = (struct slice){(const uint8_t *)copy, bytes.len};
    return 0;
}

static int decode_names(const struct decode *d, const struct field *field,
                        const msgpack_object *value, struct strv *out) {
    const msgpack_object_array *array = &value->via.array;

    if (value->type != MSGPACK_OBJECT_ARRAY)
        return refuse(d, field, "must be an array");
    if (field->max_len && array->size > field->max_len)
        return refuse(d, field, "has too many items");
    out->v = arena_alloc(d->arena, ((size_t)array->size + 1) * sizeof(*out->v));
    if (!out->v)
        return no_memory(d);
    out->n = array->size;
    for (uint32_t i = 0; i < array->size; i++) {
        int r = copy_text(d, field, &array->ptr[i], &out->v[i]);

        if (r)
            return r;
    }
    return 0;
}

static int by_name(const void *a, const void *b) {
    const char *const *left = a;
    const char *const *right = b;

    return strcmp(*left, *right);
}

/* Sorted copies of the names stand side by side when they are the same; comparing all pairs would
 * be a client's lever. */
static int refuse_repeated(const struct decode *d, const struct field *field,
                           const struct envs *envs) {
    const char **names = arena_alloc(d->arena, envs->n * sizeof(*names));

    if (!names)
        return no_memory(d);
    for (size_t i = 0; i < envs->n; i++)
        names[i] = envs->v[i].name;
    qsort(names, envs->n, sizeof(*names), by_name);
    for (size_t i = 1; i < envs->n; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return refuse(d, field, "names a variable twice");
    return 0;
}

static int decode_envs(const struct decode *d, const struct field *field,
                       const msgpack_object *value, struct envs *out) {
    const msgpack_object_map *map = &value->via.map;

    if (value->type != MSGPACK_OBJECT_MAP)
        return refuse(d, field, "must be a map");
    if (field->max_len && map->size > field->max_len)
        return refuse(d, field, "has too many items");
    out->v = arena_alloc(d->arena, ((size_t)map->size + 1) * sizeof(*out->v));
    if (!out->v)
        return no_memory(d);
    out->n = map->size;
    for (uint32_t i = 0; i < map->size; i++) {
        struct env *env = &out->v[i];
        int r = copy_text(d, field, &map->ptr[i].key, &env->name);

        if (r)
            return r;
        if (env->name[0] == '\0' || strchr(env->name, '='))
            return refuse(d, field, "a variable's name must not be empty or hold '='");
        if (map->ptr[i].val.type == MSGPACK_OBJECT_NIL)
            continue;
        r = copy_text(d, field, &map->ptr[i].val, &env->value);
        if (r)
            return r;
    }
    return refuse_repeated(d, field, out);
}

static int decode_choice(const struct decode *d, const struct field *field,
                         const msgpack_object *value, int *out) {
    if (value->type != MSGPACK_OBJECT_STR)
        return refuse(d, field, "must be a str");
    for (int i = 0; field->choices[i]; i++) {
        if (strlen(field->choices[i]) == value->via.str.size &&
            memcmp(field->choices[i], value->via.str.ptr, value->via.str.size) == 0) {
            *out = i;
            return 0;
        }
    }
    return refuse(d, field, "is not one of the known values");
}

static int decode_map(const struct decode *d, const struct field *fields, const msgpack_object *map,
                      void *out);

static int decode_nested(const struct decode *d, const struct field *field,
                         const msgpack_object *value, void *out) {
    char prefix[sizeof(d->failure->field)];
    struct decode inner = {d->arena, d->failure, prefix};

    if (value->type != MSGPACK_OBJECT_MAP)
        return refuse(d, field, "must be a map");
    snprintf(prefix, sizeof(prefix), "%s%s.", d->prefix, field->name);
    return decode_map(&inner, field->fields, value, out);
}

static int decode_value(const struct decode *d, const struct field *field,
                        const msgpack_object *value, void *out) {
    switch (field->type) {
    case FIELD_TYPE_BOOL:
        if (value->type != MSGPACK_OBJECT_BOOLEAN)
            return refuse(d, field, "must be a bool");
        *(bool *)out = value->via.boolean;
        return 0;
    case FIELD_TYPE_INT:
        return decode_int(d, field, value, out);
    case FIELD_TYPE_UINT:
        return decode_uint(d, field, value, out);
    case FIELD_TYPE_NUMBER:
        return decode_number(d, field, value, out);
    case FIELD_TYPE_STR:
    case FIELD_TYPE_NAME:
    case FIELD_TYPE_PATH:
        return decode_text(d, field, value, out);
    case FIELD_TYPE_BYTES:
        return decode_bytes(d, field, value, out);
    case FIELD_TYPE_NAMES:
        return decode_names(d, field, value, out);
    case FIELD_TYPE_ENVS:
        return decode_envs(d, field, value, out);
    case FIELD_TYPE_CHOICE:
        return decode_choice(d, field, value, out);
    case FIELD_TYPE_MAP:
        return decode_nested(d, field, value, out);
    case FIELD_TYPE_ANY:
        *(msgpack_object *)out = *value;
        return 0;
    case FIELD_TYPE_LATER:
        return complain(d, STATUS_UNSUPPORTED, field->name, strlen(field->name),
                        "is not supported by this version");
    }
    return refuse(d, field, "is of no known type");
}

static void set_defaults(const struct field *fields, char *out) {
    for (const struct field *field = fields; field->name; field++) {
        void *member = out + field->offset;

        switch (field->type) {
        case FIELD_TYPE_BOOL:
            *(bool *)member = field->otherwise.b;
            break;
        case FIELD_TYPE_INT:
            *(int64_t *)member = field->otherwise.i;
            break;
        case FIELD_TYPE_UINT:
            *(uint64_t *)member = field->otherwise.u;
            break;
        case FIELD_TYPE_NUMBER:
            *(double *)member = field->otherwise.d;
            break;
        case FIELD_TYPE_STR:
        case FIELD_TYPE_NAME:
        case FIELD_TYPE_PATH:
            *(const char **)member = field->otherwise.s;
            break;
        case FIELD_TYPE_CHOICE:
            *(int *)member = field->otherwise.choice;
            break;
        case FIELD_TYPE_MAP:
            set_defaults(field->fields, member);
            break;
        default: /* the zeroed struct says it */
            break;
        }
    }
}

/* The row of that name; its index in *ret_index. */
static const struct field *find(const struct field *fields, const msgpack_object *key,
                                unsigned *ret_index) {
    for (unsigned i = 0; fields[i].name; i++) {
        if (strlen(fields[i].name) == key->via.str.size &&
            memcmp(fields[i].name, key->via.str.ptr, key->via.str.size) == 0) {
            *ret_index = i;
            return &fields[i];
        }
    }
    return NULL;
}

static int decode_map(const struct decode *d, const struct field *fields, const msgpack_object *map,
                      void *out) {
    uint64_t *present = out;
    uint64_t seen = 0;

    for (uint32_t n = 0; n < map->via.map.size; n++) {
        const msgpack_object *key = &map->via.map.ptr[n].key;
        const msgpack_object *value = &map->via.map.ptr[n].val;
        const struct field *field;
        unsigned i;
        int r;

        if (!is_text(key))
            return failure_set(d->failure, STATUS_INVALID_REQUEST, 0, NULL,
                               "a field's name must be a str of valid UTF-8");
        field = find(fields, key, &i);
        if (!field)
            return complain(d, STATUS_INVALID_REQUEST, key->via.str.ptr, key->via.str.size,
                            "is not a known field");
        assert(i < FIELDS_MAX);
        if (seen & UINT64_C(1) << i)
            return refuse(d, field, "is given twice");
        seen |= UINT64_C(1) << i;
        if (value->type == MSGPACK_OBJECT_NIL)
            continue;
        r = decode_value(d, field, value, (char *)out + field->offset);
        if (r)
            return r;
        *present |= UINT64_C(1) << i;
    }
    for (unsigned i = 0; fields[i].name; i++)
        if (fields[i].required && !(*present & UINT64_C(1) << i))
            return refuse(d, &fields[i], "is missing");
    return 0;
}

int fields_decode(const struct field *fields, const msgpack_object *params, struct arena *arena,
                  void *out, struct failure *ret_failure) {
    struct decode d = {arena, ret_failure, ""};

    if (params->type != MSGPACK_OBJECT_MAP)
        return failure_set(ret_failure, STATUS_INVALID_REQUEST, 0, NULL, "params must be a map");
    set_defaults(fields, out);
    return decode_map(&d, fields, params, out);
}
