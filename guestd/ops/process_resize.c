/* process.resize: the size of a process's terminal. PROTOCOL.md, "Live processes". */
#include "agent/call.h"
#include "agent/job.h"

struct resize_params {
    uint64_t present;
    int64_t pid;
    const char *tag;
    int64_t rows, cols;
};

static const struct field fields[] = {
    FIELD(resize_params, pid, INT, .min = 1, .max = INT32_MAX),
    FIELD(resize_params, tag, STR),
    FIELD(resize_params, rows, INT, .required = true, .min = 1, .max = TERMINAL_MOST),
    FIELD(resize_params, cols, INT, .required = true, .min = 1, .max = TERMINAL_MOST),
    FIELDS_END,
};

static void run(struct call *call, const void *params) {
    const struct resize_params *p = params;
    struct job *job = job_select(call, p->pid, p->tag);

    if (job)
        job_resize(job, call, (uint16_t)p->rows, (uint16_t)p->cols);
}

const struct op op_process_resize = {"process.resize", fields, sizeof(struct resize_params), run,
                                     OP_WHILE_BUSY};
