/* exec's options: what each puts into the params. */
#include "proto/client/exec_options.h"

#include <stdlib.h>
#include <string.h>

#include "proto/message.h"

enum {
    KEY_TIMEOUT = 256,
    KEY_TAG,
    KEY_KILL_GRACE,
    KEY_KILL_REST,
    KEY_MAX_OUTPUT,
    KEY_OVERFLOW,
    KEY_ON_FULL,
    KEY_CAPTURE,
    KEY_WINDOW,
    KEY_ENCODING,
    KEY_LIMIT,
    KEY_SECCOMP,
    KEY_NO_NEW_PRIVS,
    KEY_KEY,
};

const struct option_row exec_option_rows[] = {
    {'b', "background", NULL, "Start it, print its pid and tag, and don't wait.", false},
    {'i', "interactive", NULL,
     "It reads our stdin; otherwise /dev/null. With -b: what `input` sends.", false},
    {'t', "tty", NULL, "It has a terminal, of the size of ours.", false},
    {'e', "env", "NAME=VALUE", "Set a variable; NAME alone unsets it. May be repeated.", false},
    {'w', "cwd", "DIR", "Where it starts; otherwise its user's home, or /.", false},
    {'u', "user", "USER", "Who it runs as: name, uid, name:group or uid:gid; otherwise root.",
     false},
    {KEY_TIMEOUT, "timeout", "SECONDS",
     "Kill it and all its descendants after so long, and end with 124. 0: never. Without it, never "
     "while output is live, and 30 s with --capture.",
     false},
    {KEY_TAG, "tag", "TAG", "The name by which wait, kill and ps know it.", false},
    {KEY_KILL_GRACE, "kill-grace", "SECONDS",
     "From SIGTERM to SIGKILL when time is up or Ctrl-C is pressed; otherwise 2.", false},
    {KEY_KILL_REST, "kill-rest", NULL, "When it ends by itself, kill the descendants it leaves.",
     false},
    {KEY_MAX_OUTPUT, "max-output", "BYTES",
     "Keep at most so much of stdout and of stderr: 64K, 16M.", false},
    {KEY_OVERFLOW, "overflow", "HOW",
     "With --capture, what to do with more output than is kept: head keeps the first bytes (the "
     "default), tail the last ones, kill ends the program.",
     false},
    {KEY_ON_FULL, "on-full", "HOW",
     "With live output and a slow reader: block makes the program wait (the default), drop loses "
     "its oldest output, and says so.",
     false},
    {KEY_CAPTURE, "capture", NULL, "Collect the output in the capsule and print it at the end.",
     false},
    {KEY_CAPTURE, "no-stream", NULL, "The same.", false},
    {KEY_WINDOW, "window", "BYTES", "How much live output may be under way; otherwise 512K.",
     false},
    {KEY_ENCODING, "encoding", "HOW", "With --json: auto (the default), utf-8 or base64.", false},
    {KEY_SECCOMP, "seccomp", "PROFILE", "A filter of system calls: none (the default) or default.",
     false},
    {KEY_NO_NEW_PRIVS, "no-new-privs", NULL, "It and its descendants can't gain privileges.",
     false},
    {KEY_LIMIT, "limit", "NAME=VALUE",
     "Hold it to a limit: nofile, nproc, core, fsize, cpu_seconds, nice, memory_max, pids_max or "
     "cpu_max. May be repeated.",
     false},
    {KEY_KEY, "key", "KEY",
     "Run it once: the same command with the same key joins the first run, and its result.", false},
    {0},
};

/* ── limits ── */

static int add_limit(struct ctl *ctl, const char *argument, struct exec_options *exec) {
    if (!strchr(argument, '=') || *argument == '=') {
        ctl_complain(ctl, "--limit: NAME=VALUE, not \"%s\"", argument);
        return -1;
    }
    exec->limits[exec->n_limits++] = argument;
    return 0;
}

static bool named(const char *limit, const char *name) {
    size_t len = strlen(name);

    return strncmp(limit, name, len) == 0 && limit[len] == '=';
}

/* A CPU may be had in parts, niceness is below zero too, the rest are amounts. */
static bool pack_limit(struct ctl *ctl, msgpack_packer *pk, const char *limit) {
    const char *value = strchr(limit, '=') + 1;
    uint64_t amount;
    int64_t nice;
    double cpus;

    pack_name_len(pk, limit, (size_t)(value - 1 - limit));
    if (named(limit, "cpu_max")) {
        if (!options_number(ctl, "--limit cpu_max", value, &cpus))
            return false;
        msgpack_pack_double(pk, cpus);
    } else if (named(limit, "nice")) {
        if (!options_int(ctl, "--limit nice", value, -20, 19, &nice))
            return false;
        msgpack_pack_int64(pk, nice);
    } else {
        if (!options_bytes(ctl, "--limit", value, &amount))
            return false;
        msgpack_pack_uint64(pk, amount);
    }
    return true;
}

/* Of two values for one limit the later counts. */
static bool set_again(const struct exec_options *exec, size_t i) {
    size_t len = strcspn(exec->limits[i], "=") + 1;

    for (size_t j = i + 1; j < exec->n_limits; j++)
        if (strncmp(exec->limits[i], exec->limits[j], len) == 0)
            return true;
    return false;
}

bool exec_options_put_limits(struct ctl *ctl, const struct exec_options *exec,
                             struct guestproto_params *params) {
    size_t distinct = 0;
    msgpack_packer *pk;

    for (size_t i = 0; i < exec->n_limits; i++)
        distinct += !set_again(exec, i);
    if (distinct == 0)
        return true;
    pk = guestproto_put(params, "limits");
    msgpack_pack_map(pk, distinct);
    for (size_t i = 0; i < exec->n_limits; i++)
        if (!set_again(exec, i) && !pack_limit(ctl, pk, exec->limits[i]))
            return false;
    return true;
}

static int put_number(struct ctl *ctl, struct guestproto_params *params, const char *key,
                      const char *text) {
    double value;

    if (!options_seconds(ctl, key, text, &value))
        return -1;
    guestproto_put_number(params, key, value);
    return 0;
}

int exec_option_take(struct ctl *ctl, int key, const char *argument, struct exec_options *exec,
                     struct guestproto_params *params) {
    uint64_t bytes;

    switch (key) {
    case 'b':
        exec->background = true;
        break;
    case 'i':
        exec->input = true;
        break;
    case 't':
        exec->terminal = true;
        break;
    case 'e':
        exec->envs[exec->n_envs++] = (char *)argument;
        break;
    case 'w':
        guestproto_put_name(params, "cwd", argument);
        break;
    case 'u':
        guestproto_put_name(params, "user", argument);
        break;
    case KEY_TIMEOUT:
        return put_number(ctl, params, "timeout", argument);
    case KEY_TAG:
        guestproto_put_name(params, "tag", argument);
        break;
    case KEY_KILL_GRACE:
        return put_number(ctl, params, "kill_grace", argument);
    case KEY_KILL_REST:
        guestproto_put_bool(params, "kill_rest", true);
        break;
    case KEY_MAX_OUTPUT:
        if (!options_bytes(ctl, "--max-output", argument, &bytes))
            return -1;
        guestproto_put_int(params, "max_output", (int64_t)bytes);
        break;
    case KEY_OVERFLOW:
        guestproto_put_name(params, "overflow", argument);
        break;
    case KEY_ON_FULL:
        guestproto_put_name(params, "on_full", argument);
        break;
    case KEY_CAPTURE:
        exec->capture = true;
        break;
    case KEY_WINDOW:
        return options_bytes(ctl, "--window", argument, &exec->window) ? 0 : -1;
    case KEY_ENCODING:
        exec->encoding = argument;
        break;
    case KEY_LIMIT:
        return add_limit(ctl, argument, exec);
    case KEY_KEY:
        guestproto_put_name(params, "key", argument);
        exec->keyed = true;
        break;
    case KEY_SECCOMP:
        guestproto_put_name(params, "seccomp", argument);
        break;
    case KEY_NO_NEW_PRIVS:
        guestproto_put_bool(params, "no_new_privs", true);
        break;
    }
    return 0;
}
