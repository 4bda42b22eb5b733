/* process.get: one process's record. PROTOCOL.md, "Processes". */
#include "agent/call.h"
#include "agent/job.h"

struct get_params {
    uint64_t present;
    int64_t pid;
    const char *tag;
};

static const struct field fields[] = {
    FIELD(get_params, pid, INT, .min = 1, .max = INT32_MAX),
    FIELD(get_params, tag, STR),
    FIELDS_END,
};

static void run(struct call *call, const void *params) {
    const struct get_params *p = params;
    struct job *job = job_select(call, p->pid, p->tag);

    if (job)
        job_reply_record(job, call);
}

const struct op op_process_get = {"process.get", fields, sizeof(struct get_params), run,
                                  OP_WHILE_BUSY};
