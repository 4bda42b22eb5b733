/* process.close_stdin: the end, behind what a program has still to read. PROTOCOL.md, "Live
 * processes". */
#include "agent/call.h"
#include "agent/job.h"

struct close_params {
    uint64_t present;
    int64_t pid;
    const char *tag;
};

static const struct field fields[] = {
    FIELD(close_params, pid, INT, .min = 1, .max = INT32_MAX),
    FIELD(close_params, tag, STR),
    FIELDS_END,
};

static void run(struct call *call, const void *params) {
    const struct close_params *p = params;
    struct job *job = job_select(call, p->pid, p->tag);

    if (job)
        job_close_stdin(job, call);
}

const struct op op_process_close_stdin = {"process.close_stdin", fields,
                                          sizeof(struct close_params), run, OP_WHILE_BUSY};
