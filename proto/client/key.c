#include "proto/client/key.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "proto/client/params.h"

#define KEY_BYTES 16

struct key {
    char text[16 + 2 * KEY_BYTES]; /* made here; "": the caller's own */
};

static bool make(struct key *key) {
    uint8_t random[KEY_BYTES];
    char *at = key->text;

    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        return false;
    at += sprintf(at, "guestproto-");
    for (size_t i = 0; i < sizeof(random); i++)
        at += sprintf(at, "%02x", random[i]);
    return true;
}

void key_where(const struct request *request, char *where) {
    size_t len = 0;

    for (size_t i = 0; i < request->n_channels && len < WHERE_SIZE; i++)
        len += (size_t)snprintf(where + len, WHERE_SIZE - len, "%s%s %llu", i ? ", " : "",
                                request->channels[i].name,
                                (unsigned long long)request->channels[i].off);
}

static int prepare(struct request *request, struct guestproto_params **ret_params, char *where) {
    const struct key *key = request->ask->context;

    if (key->text[0]) {
        *ret_params = params_copy(request->ask->params, NULL);
        if (!*ret_params)
            return error_set(request->client, ENOMEM, "no memory");
        guestproto_put_text(*ret_params, "key", key->text);
    }
    if (request->attempt == 0)
        return 0;
    key_where(request, where);
    /* Nothing tells how much of its stdin a captured program was given. */
    if (request->ask->mute && request->up.read > 0)
        return error_fatal(request->client, ECONNRESET,
                           "the connection was lost, and with it how much of stdin was taken");
    return 0;
}

static const struct again by_key = {prepare, true};

int key_run(struct guestproto *client, struct ask *ask, struct guestproto_reply *ret_reply) {
    struct key key = {.text = ""};
    int r;

    ask->context = &key;
    if (params_has(ask->params, "key") || (resume_possible(client) && make(&key)))
        ask->again = &by_key;
    r = request_run(client, ask, ret_reply);
    if (r == GUESTPROTO_UNSUPPORTED && key.text[0] && strcmp(client->error.field, "key") == 0) {
        ask->again = NULL;
        r = request_run(client, ask, ret_reply);
    }
    return r;
}
