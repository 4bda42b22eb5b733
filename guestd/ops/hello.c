/* hello: shows the token, tells what this guestd is and every limit it holds. PROTOCOL.md, "hello".
 */
#include "agent/agent.h"
#include "agent/call.h"
#include "ops/ops.h"
#include "proto/limits.h"
#include "proto/message.h"
#include "sandbox/profile.h"
#include "version.h"

struct hello_params {
    uint64_t present;
    int64_t protocol;
    const char *client;
    struct slice token;
    int64_t max_frame;
};

static const struct field fields[] = {
    FIELD(hello_params, protocol, INT, .required = true),
    FIELD(hello_params, client, STR, .max_len = 256),
    FIELD(hello_params, token, BYTES, .max_len = LINK_TOKEN),
    FIELD(hello_params, max_frame, INT, .min = 4096, .max = UINT32_MAX,
          .otherwise.i = DEFAULT_CLIENT_FRAME),
    FIELDS_END,
};

/* Takes the same time wherever the difference is; only the length shows. */
static bool token_fits(const struct link_config *config, struct slice token) {
    uint8_t difference = token.len != config->token_len;

    for (uint32_t i = 0; i < config->token_len; i++)
        difference |= config->token[i] ^ (i < token.len ? token.data[i] : 0);
    return difference == 0;
}

static void pack_capabilities(msgpack_packer *pk, const struct agent *agent) {
    static const char *const controllers[] = {"memory", "pids", "cpu"};
    const char *const *names;
    int n = profile_names(&names);
    uint32_t held = 0;

    msgpack_pack_map(pk, 3);
    pack_text(pk, "methods");
    ops_pack_names(pk);
    pack_text(pk, "seccomp");
    msgpack_pack_array(pk, (size_t)n);
    for (int i = 0; i < n; i++)
        pack_text(pk, names[i]);
    pack_text(pk, "controllers");
    for (unsigned i = 0; i < 3; i++)
        held += (agent->hello.controllers >> i) & 1;
    msgpack_pack_array(pk, held);
    for (unsigned i = 0; i < 3; i++)
        if (agent->hello.controllers & 1u << i)
            pack_text(pk, controllers[i]);
}

static void pack_limits(msgpack_packer *pk, const struct agent *agent) {
    msgpack_pack_map(pk, LIMIT_COUNT);
#define X(name, value, help) pack_kv_uint(pk, #name, agent->limit[LIMIT_##name]);
    LIMITS(X)
#undef X
}

static void run(struct call *call, const void *params) {
    const struct hello_params *p = params;
    const struct agent *agent = call_agent(call);
    char instance[17];
    msgpack_packer *pk;

    if (p->protocol != PROTOCOL_VERSION) {
        call_fail(call, STATUS_UNSUPPORTED, 0, "protocol", "this is protocol %d", PROTOCOL_VERSION);
        return;
    }
    if (agent->hello.config.token_len && !token_fits(&agent->hello.config, p->token)) {
        call_refuse(call, STATUS_UNAUTHENTICATED,
                    p->token.data ? "a wrong token" : "a token is needed");
        return;
    }
    if (!call_authenticate(call, (uint64_t)p->max_frame))
        return;
    pk = call_reply_begin(call, 8);
    pack_kv_int(pk, "protocol", PROTOCOL_VERSION);
    pack_kv_text(pk, "version", guestd_version);
    pack_kv_text(pk, "boot_id", agent->hello.boot_id);
    snprintf(instance, sizeof instance, "%016llx", (unsigned long long)agent->hello.job_nonce);
    pack_kv_text(pk, "instance", instance);
    pack_kv_uint(pk, "generation", 0); /* no resume yet */
    pack_kv_text(pk, "kill_tree",
                 agent->hello.kill_tree == LINK_KILL_CGROUP ? "cgroup" : "best_effort");
    pack_text(pk, "capabilities");
    pack_capabilities(pk, agent);
    pack_text(pk, "limits");
    pack_limits(pk, agent);
    call_reply_end(call);
}

const struct op op_hello = {"hello", fields, sizeof(struct hello_params), run,
                            OP_ANONYMOUS | OP_WHILE_BUSY};
