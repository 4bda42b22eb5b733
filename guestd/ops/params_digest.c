#include "ops/params_digest.h"

#include <errno.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>

/* Each thing with its length before it, each list with its count: no two requests have the same
 * bytes. */
static void add(SHA2_CTX *sum, const void *bytes, uint64_t len) {
    SHA256Update(sum, (const uint8_t *)&len, sizeof(len));
    SHA256Update(sum, bytes, (size_t)len);
}

static void add_text(SHA2_CTX *sum, const char *text) {
    add(sum, text, strlen(text));
}

static void add_count(SHA2_CTX *sum, uint64_t n) {
    add(sum, &n, sizeof(n));
}

static int by_name(const void *a, const void *b) {
    const struct env *const *left = a, *const *right = b;

    return strcmp((*left)->name, (*right)->name);
}

/* A map has no order. */
static int add_envs(SHA2_CTX *sum, const struct envs *envs) {
    const struct env **sorted = malloc(envs->n * sizeof(struct env *));

    if (!sorted)
        return -ENOMEM;
    for (size_t i = 0; i < envs->n; i++)
        sorted[i] = &envs->v[i];
    qsort(sorted, envs->n, sizeof(*sorted), by_name);
    add_count(sum, envs->n);
    for (size_t i = 0; i < envs->n; i++) {
        add_text(sum, sorted[i]->name);
        add(sum, sorted[i]->value ? "=" : "", sorted[i]->value != NULL);
        add_text(sum, sorted[i]->value ? sorted[i]->value : "");
    }
    free(sorted);
    return 0;
}

/* As if it were absent. */
static bool absent(const struct field *field, const void *member) {
    switch (field->type) {
    case FIELD_TYPE_BOOL:
        return *(const bool *)member == field->otherwise.b;
    case FIELD_TYPE_INT:
    case FIELD_TYPE_UINT:
        return *(const int64_t *)member == field->otherwise.i;
    case FIELD_TYPE_NUMBER:
        return !(*(const double *)member < field->otherwise.d) &&
               !(*(const double *)member > field->otherwise.d);
    case FIELD_TYPE_CHOICE:
        return *(const int *)member == field->otherwise.choice;
    case FIELD_TYPE_STR:
    case FIELD_TYPE_NAME:
    case FIELD_TYPE_PATH: {
        const char *text = *(const char *const *)member, *other = field->otherwise.s;

        return !text || (other && strcmp(text, other) == 0);
    }
    case FIELD_TYPE_BYTES:
        return !((const struct slice *)member)->data;
    case FIELD_TYPE_NAMES:
        return ((const struct strv *)member)->n == 0;
    case FIELD_TYPE_ENVS:
        return ((const struct envs *)member)->n == 0;
    case FIELD_TYPE_MAP: /* its first member says what was given */
        return *(const uint64_t *)member == 0;
    case FIELD_TYPE_ANY: /* borrowed, and gone by now */
    case FIELD_TYPE_LATER:
        break;
    }
    return true;
}

static int add_given(SHA2_CTX *sum, const struct field *fields, const void *params);

static int add_value(SHA2_CTX *sum, const struct field *field, const void *member) {
    const struct strv *names = member;
    const struct slice *bytes = member;

    switch (field->type) {
    case FIELD_TYPE_BOOL:
        add(sum, member, sizeof(bool));
        return 0;
    case FIELD_TYPE_INT:
    case FIELD_TYPE_UINT:
        add(sum, member, sizeof(int64_t));
        return 0;
    case FIELD_TYPE_NUMBER:
        add(sum, member, sizeof(double));
        return 0;
    case FIELD_TYPE_CHOICE:
        add_text(sum, field->choices[*(const int *)member]);
        return 0;
    case FIELD_TYPE_STR:
    case FIELD_TYPE_NAME:
    case FIELD_TYPE_PATH:
        add_text(sum, *(const char *const *)member);
        return 0;
    case FIELD_TYPE_BYTES:
        add(sum, bytes->data, bytes->len);
        return 0;
    case FIELD_TYPE_NAMES:
        add_count(sum, names->n);
        for (size_t i = 0; i < names->n; i++)
            add_text(sum, names->v[i]);
        return 0;
    case FIELD_TYPE_ENVS:
        return add_envs(sum, member);
    case FIELD_TYPE_MAP:
        return add_given(sum, field->fields, member);
    case FIELD_TYPE_ANY:
    case FIELD_TYPE_LATER:
        break;
    }
    return 0;
}

static int add_field(SHA2_CTX *sum, const struct field *field, const void *member) {
    add_text(sum, field->name);
    return add_value(sum, field, member);
}

static int add_given(SHA2_CTX *sum, const struct field *fields, const void *params) {
    uint64_t present = *(const uint64_t *)params;
    int r = 0;

    for (unsigned i = 0; fields[i].name && r == 0; i++)
        if (present >> i & 1)
            r = add_field(sum, &fields[i], (const char *)params + fields[i].offset);
    add_text(sum, ""); /* no name is empty: here the map ends */
    return r;
}

static bool excepted(const char *const *except, const char *name) {
    for (; except && *except; except++)
        if (strcmp(*except, name) == 0)
            return true;
    return false;
}

int params_digest(const struct field *fields, const void *params, const char *const *except,
                  uint8_t ret[PARAMS_DIGEST]) {
    SHA2_CTX sum;
    int r = 0;

    SHA256Init(&sum);
    for (const struct field *field = fields; field->name && r == 0; field++) {
        const void *member = (const char *)params + field->offset;

        if (!excepted(except, field->name) && !absent(field, member))
            r = add_field(&sum, field, member);
    }
    SHA256Final(ret, &sum);
    return r;
}
