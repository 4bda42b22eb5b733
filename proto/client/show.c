#include "proto/client/show.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/client/human.h"
#include "proto/client/json.h"

static void show_value(const msgpack_object *value) {
    if (value->type == MSGPACK_OBJECT_STR)
        human_bytes(stdout, (struct guestproto_bytes){value->via.str.ptr, value->via.str.size});
    else if (value->type == MSGPACK_OBJECT_NIL)
        putchar('-');
    else
        json_write(stdout, value);
}

static void show_array(const msgpack_object *array) {
    for (uint32_t i = 0; i < array->via.array.size; i++) {
        fputs(i ? " " : "", stdout);
        show_value(&array->via.array.ptr[i]);
    }
}

static void show_map(const msgpack_object *map, int indent) {
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *pair = &map->via.map.ptr[i];
        int width = 22 - indent;

        if (pair->key.type != MSGPACK_OBJECT_STR)
            continue;
        printf("%*s", indent, "");
        human_bytes(stdout,
                    (struct guestproto_bytes){pair->key.via.str.ptr, pair->key.via.str.size});
        if (pair->val.type == MSGPACK_OBJECT_MAP) {
            putchar('\n');
            show_map(&pair->val, indent + 2);
            continue;
        }
        width -= (int)(pair->key.via.str.size < 20 ? pair->key.via.str.size : 20);
        printf("%*s  ", width > 0 ? width : 0, "");
        if (pair->val.type == MSGPACK_OBJECT_ARRAY)
            show_array(&pair->val);
        else
            show_value(&pair->val);
        putchar('\n');
    }
}

void show_fields(const msgpack_object *map) {
    if (map && map->type == MSGPACK_OBJECT_MAP)
        show_map(map, 0);
}

int show_method(struct ctl *ctl, const char *method) {
    struct guestproto_reply reply = {0};
    const char *argument;
    int key, r;

    while ((key = options_next(ctl, &argument)) != 0)
        if (key < 0)
            return ctl->exit_code;
    r = ctl_begin(ctl, 0, 0);
    if (r != 0)
        return r;
    r = guestproto_call(ctl->client, method, NULL, &reply);
    if (r != 0)
        return ctl_failed(ctl, r);
    if (ctl->json)
        json_print(&reply.result);
    else
        show_fields(&reply.result);
    guestproto_reply_free(&reply);
    return EXIT_DONE;
}
