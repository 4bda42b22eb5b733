/* process.input: bytes for a program whose stdin is open, or for its terminal. PROTOCOL.md, "Live
 * processes". */
#include "agent/call.h"
#include "agent/job.h"

struct input_params {
    uint64_t present;
    int64_t pid;
    const char *tag;
    struct slice data;
    int64_t off; /* −1: behind what came before */
};

static const struct field fields[] = {
    FIELD(input_params, pid, INT, .min = 1, .max = INT32_MAX),
    FIELD(input_params, tag, STR),
    FIELD(input_params, data, BYTES, .required = true),
    FIELD(input_params, off, INT, .min = 0, .max = INT64_MAX, .otherwise.i = -1),
    FIELDS_END,
};

static void run(struct call *call, const void *params) {
    const struct input_params *p = params;
    struct job *job = job_select(call, p->pid, p->tag);

    if (job)
        job_input(job, call, p->data, p->off);
}

const struct op op_process_input = {"process.input", fields, sizeof(struct input_params), run,
                                    OP_WHILE_BUSY};
