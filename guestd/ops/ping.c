/* ping: is anybody there, and when did somebody last use this capsule. PROTOCOL.md, "ping". */
#include <time.h>

#include "agent/agent.h"
#include "agent/call.h"
#include "proto/message.h"

struct ping_params {
    uint64_t present;
    bool touch;
};

static const struct field fields[] = {
    FIELD(ping_params, touch, BOOL, .otherwise.b = true),
    FIELDS_END,
};

static void run(struct call *call, const void *params) {
    const struct ping_params *p = params;
    struct agent *agent = call_agent(call);
    struct timespec now, up;
    msgpack_packer *pk;

    if (p->touch)
        agent_touch(agent);
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &up);
    pk = call_reply_begin(call, 3);
    pack_kv_int(pk, "time_unix_ns", (int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
    pack_kv_int(pk, "uptime_ms", (int64_t)up.tv_sec * 1000 + up.tv_nsec / 1000000);
    pack_kv_double(pk, "last_active_at", agent->last_active_at);
    call_reply_end(call);
}

const struct op op_ping = {"ping", fields, sizeof(struct ping_params), run, OP_WHILE_BUSY};
