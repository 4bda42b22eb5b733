/* process.forget: drops what is remembered of an exited process. PROTOCOL.md, "Processes". */
#include "agent/call.h"
#include "agent/job.h"

struct forget_params {
    uint64_t present;
    int64_t pid;
    const char *tag;
};

static const struct field fields[] = {
    FIELD(forget_params, pid, INT, .min = 1, .max = INT32_MAX),
    FIELD(forget_params, tag, STR),
    FIELDS_END,
};

static void run(struct call *call, const void *params) {
    const struct forget_params *p = params;
    struct job *job = job_select(call, p->pid, p->tag);

    if (job)
        job_forget(job, call);
}

const struct op op_process_forget = {"process.forget", fields, sizeof(struct forget_params), run,
                                     OP_WHILE_BUSY};
