/* info: what this capsule and this guestd are, and how they are doing. PROTOCOL.md, "info". */
#include <time.h>

#include "agent/agent.h"
#include "agent/call.h"
#include "capsule/identity.h"
#include "capsule/metrics.h"
#include "proto/message.h"
#include "version.h"

struct info_params {
    uint64_t present;
};

static const struct field fields[] = {FIELDS_END};

struct readings {
    struct work work;
    struct capsule_identity identity;
    struct capsule_info machine;
    struct capsule_process self;
};

static int64_t since_ms(int64_t start_ns) {
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return ((int64_t)now.tv_sec * 1000000000 + now.tv_nsec - start_ns) / 1000000;
}

/* On a pool thread: /proc can be slow. */
static int read_all(struct work *work) {
    struct readings *readings = (struct readings *)work;

    capsule_identity_read(&readings->identity);
    capsule_info_read(&readings->machine);
    capsule_process_read(0, &readings->self);
    return 0;
}

static void pack_metrics(msgpack_packer *pk, const struct agent *agent,
                         const struct readings *readings) {
    pack_text(pk, "metrics");
    msgpack_pack_map(pk, 10);
    pack_kv_uint(pk, "rss", readings->self.rss);
    pack_kv_uint(pk, "open_fds", readings->self.open_fds);
    pack_kv_double(pk, "loop_lag_p50_ms", agent_lag_ms(agent, 0.50));
    pack_kv_double(pk, "loop_lag_p99_ms", agent_lag_ms(agent, 0.99));
    pack_kv_uint(pk, "queued_bytes", agent->stats.queued_bytes);
    pack_kv_uint(pk, "frames_in", agent->stats.frames_in);
    pack_kv_uint(pk, "frames_out", agent->stats.frames_out);
    pack_kv_uint(pk, "processes_started",
                 agent->hello.processes_started + agent->stats.processes_started);
    pack_kv_uint(pk, "reaped_orphans", agent->hello.reaped_orphans);
    pack_kv_uint(pk, "dropped_bytes", agent->stats.dropped_bytes);
}

static void pack_upgrade(msgpack_packer *pk, const struct link_hello *hello) {
    static const char *const states[] = {"none", "pending", "done", "rolled_back"};

    pack_text(pk, "upgrade");
    msgpack_pack_map(pk, 2);
    pack_kv_text(pk, "state", states[hello->upgrade % 4]);
    if (hello->upgrade == LINK_UPGRADE_NONE)
        pack_kv_nil(pk, "at");
    else
        pack_kv_double(pk, "at", hello->upgrade_at);
}

static void reply(struct work *work, int result) {
    const struct readings *readings = (struct readings *)work;
    const struct agent *agent = call_agent(work->call);
    msgpack_packer *pk = call_reply_begin(work->call, 15);

    pack_kv_text(pk, "version", guestd_version);
    pack_kv_text(pk, "boot_id", agent->hello.boot_id);
    pack_kv_name(pk, "kernel", readings->identity.kernel);
    pack_kv_name(pk, "arch", readings->identity.arch);
    pack_kv_bool(pk, "pid1", agent->hello.supervisor_pid == 1);
    pack_kv_uint(pk, "cpus", readings->machine.cpus);
    pack_kv_uint(pk, "memory", readings->machine.mem_total);
    pack_kv_int(pk, "supervisor_uptime_ms", since_ms(agent->hello.started_mono_ns));
    pack_kv_int(pk, "agent_uptime_ms", since_ms(agent->started_ns));
    pack_kv_uint(pk, "restarts", agent->hello.restarts);
    pack_kv_nil(pk, "template"); /* configure tells it */
    pack_kv_text(pk, "supervisor_version", agent->hello.supervisor);
    pack_kv_uint(pk, "reexecs", agent->hello.reexecs);
    pack_upgrade(pk, &agent->hello);
    pack_metrics(pk, agent, readings);
    call_reply_end(work->call);
}

static void run(struct call *call, const void *params) {
    struct readings *readings = arena_alloc(call_arena(call), sizeof *readings);

    if (!readings) {
        call_fail(call, STATUS_INTERNAL, 0, NULL, "no memory for the readings");
        return;
    }
    call_work_start(call, &readings->work, read_all, reply);
}

const struct op op_info = {"info", fields, sizeof(struct info_params), run, OP_WHILE_BUSY};
