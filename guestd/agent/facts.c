#include "agent/facts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "guestd/link.h"
#include "proto/message.h"

#define FACTS_VERSION 1
#define FACTS_NESTING 2
#define ZONE_BYTES 1024 /* holds the items and a few dozen args; it grows */

enum item {
    ITEM_VERSION,
    ITEM_TAG,
    ITEM_CMD,
    ITEM_ARGS,
    ITEM_CWD,
    ITEM_USER,
    ITEM_FLAGS,
    ITEM_ENCODING,
    ITEM_MAX_OUTPUT,
    ITEM_KEY,
    ITEM_DIGEST,
    ITEMS
};

int facts_pack(const struct facts *facts, msgpack_sbuffer *out) {
    msgpack_packer pk;
    size_t kept = 0, n = 0;

    while (n < facts->args.n) {
        kept += strlen(facts->args.v[n]) + 1;
        if (kept > FACTS_ARGS_MAX)
            break;
        n++;
    }
    msgpack_packer_init(&pk, out, msgpack_sbuffer_write);
    msgpack_pack_array(&pk, ITEMS);
    msgpack_pack_uint32(&pk, FACTS_VERSION);
    pack_name(&pk, facts->tag);
    pack_name(&pk, facts->cmd);
    msgpack_pack_array(&pk, n);
    for (size_t i = 0; i < n; i++)
        pack_name(&pk, facts->args.v[i]);
    pack_name(&pk, facts->cwd);
    pack_name(&pk, facts->user);
    msgpack_pack_uint32(&pk, facts->flags);
    msgpack_pack_uint32(&pk, facts->encoding);
    msgpack_pack_uint64(&pk, facts->max_output);
    if (!facts->key) {
        msgpack_pack_nil(&pk);
        /* the packer's errors are the buffer's: no memory */
        return msgpack_pack_nil(&pk) ? -ENOMEM : 0;
    }
    pack_name(&pk, facts->key);
    msgpack_pack_bin(&pk, sizeof(facts->digest));
    return msgpack_pack_bin_body(&pk, facts->digest, sizeof(facts->digest)) ? -ENOMEM : 0;
}

/* The item's number, or `otherwise` where an older agent wrote none. */
static uint64_t number(const msgpack_object_array *array, uint32_t i, uint64_t otherwise) {
    if (i >= array->size || array->ptr[i].type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return otherwise;
    return array->ptr[i].via.u64;
}

/* Copies a text to *at, which moves past its NUL. */
static char *text(const msgpack_object *object, char **at) {
    char *start = *at;

    /* str and bin have their length and pointer in different members of the union */
    if (object->type == MSGPACK_OBJECT_STR)
        *at = mempcpy(*at, object->via.str.ptr, object->via.str.size);
    else if (object->type == MSGPACK_OBJECT_BIN)
        *at = mempcpy(*at, object->via.bin.ptr, object->via.bin.size);
    *(*at)++ = '\0';
    return start;
}

/* A key without its digest is none. */
static void read_key(const msgpack_object_array *array, struct facts *facts, char **at) {
    facts->key = NULL;
    if (array->size <= ITEM_DIGEST || array->ptr[ITEM_KEY].type != MSGPACK_OBJECT_STR ||
        array->ptr[ITEM_DIGEST].type != MSGPACK_OBJECT_BIN ||
        array->ptr[ITEM_DIGEST].via.bin.size != sizeof(facts->digest))
        return;
    facts->key = text(&array->ptr[ITEM_KEY], at);
    memcpy(facts->digest, array->ptr[ITEM_DIGEST].via.bin.ptr, sizeof(facts->digest));
}

static struct facts *build(const msgpack_object_array *array, size_t blob_len) {
    const msgpack_object_array *args = &array->ptr[ITEM_ARGS].via.array;
    /* Each text has at least one byte of header in the blob, which is the room for its NUL. */
    size_t pointers = (args->size + 1) * sizeof(char *);
    struct facts *facts = malloc(sizeof(*facts) + pointers + blob_len);
    char *at;

    if (!facts)
        return NULL;
    facts->args.n = args->size;
    facts->args.v = (char **)(facts + 1);
    at = (char *)facts->args.v + pointers;
    for (uint32_t i = 0; i < args->size; i++)
        facts->args.v[i] = text(&args->ptr[i], &at);
    facts->args.v[args->size] = NULL;
    facts->tag = text(&array->ptr[ITEM_TAG], &at);
    facts->cmd = text(&array->ptr[ITEM_CMD], &at);
    facts->cwd = text(&array->ptr[ITEM_CWD], &at);
    facts->user = text(&array->ptr[ITEM_USER], &at);
    facts->flags = (unsigned)number(array, ITEM_FLAGS, 0);
    facts->encoding = (enum encoding)number(array, ITEM_ENCODING, ENCODING_AUTO);
    if (facts->encoding > ENCODING_RAW)
        facts->encoding = ENCODING_AUTO;
    facts->max_output = number(array, ITEM_MAX_OUTPUT, UINT64_MAX);
    read_key(array, facts, &at);
    return facts;
}

int facts_unpack(const void *blob, size_t len, struct facts **ret) {
    msgpack_zone zone;
    msgpack_object root;
    const msgpack_object_array *array = &root.via.array;
    struct facts *facts = NULL;
    size_t used = 0;
    int r = -EBADMSG;

    if (len > LINK_FACTS_MAX || message_check((struct slice){blob, len}, FACTS_NESTING))
        return -EBADMSG;
    if (!msgpack_zone_init(&zone, ZONE_BYTES))
        return -ENOMEM;
    if (msgpack_unpack(blob, len, &used, &zone, &root) == MSGPACK_UNPACK_SUCCESS &&
        root.type == MSGPACK_OBJECT_ARRAY && array->size > ITEM_USER &&
        number(array, ITEM_VERSION, 0) == FACTS_VERSION &&
        array->ptr[ITEM_ARGS].type == MSGPACK_OBJECT_ARRAY) {
        facts = build(array, len);
        r = facts ? 0 : -ENOMEM;
    }
    msgpack_zone_destroy(&zone);
    if (facts)
        *ret = facts;
    return r;
}
