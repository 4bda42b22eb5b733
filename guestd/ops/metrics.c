/* metrics: how much of the capsule is in use. PROTOCOL.md, "metrics". */
#include <time.h>

#include "agent/agent.h"
#include "agent/call.h"
#include "capsule/usage.h"
#include "proto/message.h"

/* Two readings of the processors' times that are closer than this say little: they count in 10 ms.
 */
#define APART_MS 100

struct metrics_params {
    uint64_t present;
};

static const struct field fields[] = {FIELDS_END};

struct reading {
    struct work work;
    struct capsule_usage usage;
};

/* On a pool thread: /proc can be slow. */
static int read_usage(struct work *work) {
    capsule_usage_read(&((struct reading *)work)->usage);
    return 0;
}

/* Between the reading before and this one; the first is since boot. */
static double used_pct(struct agent *agent, const struct capsule_usage *usage) {
    struct agent_cpu *cpu = &agent->cpu;

    /* Readings of two threads may come in either order. */
    if (usage->cpus == 0 || usage->cpu_total_ms < cpu->total_ms + (uint64_t)APART_MS * usage->cpus)
        return cpu->used_pct;
    const uint64_t total = usage->cpu_total_ms - cpu->total_ms;
    const uint64_t busy = usage->cpu_busy_ms > cpu->busy_ms ? usage->cpu_busy_ms - cpu->busy_ms : 0;
    *cpu = (struct agent_cpu){
        .busy_ms = usage->cpu_busy_ms,
        .total_ms = usage->cpu_total_ms,
        .used_pct = (double)busy * 100 / (double)total,
    };
    return cpu->used_pct;
}

static void pack_pressure(msgpack_packer *pk, const char *key,
                          const struct capsule_pressure *pressure) {
    pack_text(pk, key);
    msgpack_pack_map(pk, 2);
    pack_kv_double(pk, "some", pressure->some);
    pack_kv_double(pk, "full", pressure->full);
}

static void reply(struct work *work, int result) {
    const struct capsule_usage *usage = &((struct reading *)work)->usage;
    msgpack_packer *pk = call_reply_begin(work->call, usage->has_pressure ? 11 : 10);

    pack_kv_int(pk, "ts", (int64_t)time(NULL));
    pack_kv_uint(pk, "cpu_count", usage->cpus);
    pack_kv_double(pk, "cpu_used_pct", used_pct(call_agent(work->call), usage));
    pack_kv_uint(pk, "cpu_total_ms", usage->cpu_busy_ms);
    pack_kv_uint(pk, "mem_total", usage->mem_total);
    pack_kv_uint(pk, "mem_used", usage->mem_used);
    pack_kv_uint(pk, "mem_cache", usage->mem_cache);
    pack_kv_uint(pk, "disk_total", usage->disk_total);
    pack_kv_uint(pk, "disk_used", usage->disk_used);
    pack_text(pk, "load");
    msgpack_pack_array(pk, 3);
    for (int i = 0; i < 3; i++)
        msgpack_pack_double(pk, usage->load[i]);
    if (usage->has_pressure) {
        pack_text(pk, "psi");
        msgpack_pack_map(pk, 3);
        pack_pressure(pk, "cpu", &usage->cpu);
        pack_pressure(pk, "memory", &usage->memory);
        pack_pressure(pk, "io", &usage->io);
    }
    call_reply_end(work->call);
}

static void run(struct call *call, const void *params) {
    struct reading *reading = arena_alloc(call_arena(call), sizeof *reading);

    if (!reading) {
        call_fail(call, STATUS_INTERNAL, 0, NULL, "no memory for the reading");
        return;
    }
    call_work_start(call, &reading->work, read_usage, reply);
}

const struct op op_metrics = {"metrics", fields, sizeof(struct metrics_params), run, OP_WHILE_BUSY};
