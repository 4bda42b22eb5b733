/* process.list: the processes that guestd started. PROTOCOL.md, "Processes". */
#include "agent/agent.h"
#include "agent/call.h"
#include "agent/job.h"
#include "proto/message.h"

struct list_params {
    uint64_t present;
    bool exited;
};

static const struct field fields[] = {
    FIELD(list_params, exited, BOOL),
    FIELDS_END,
};

static void run(struct call *call, const void *params) {
    const struct list_params *p = params;
    struct jobs *jobs = call_agent(call)->jobs;
    uint32_t n = 0;
    msgpack_packer *pk;

    for (struct job *job = jobs_first(jobs); job; job = job_next(job))
        n += p->exited || job_running(job);
    pk = call_reply_begin(call, 1);
    pack_text(pk, "processes");
    msgpack_pack_array(pk, n);
    for (struct job *job = jobs_first(jobs); job; job = job_next(job))
        if (p->exited || job_running(job))
            job_pack_record(job, pk);
    call_reply_end(call);
}

const struct op op_process_list = {"process.list", fields, sizeof(struct list_params), run,
                                   OP_WHILE_BUSY};
