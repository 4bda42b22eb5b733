/* process.kill: a signal to a process, its group or its whole tree. PROTOCOL.md, "Processes". */
#include <signal.h>
#include <string.h>

#include "agent/call.h"
#include "agent/job.h"

#define SIGNAL_LAST 64
#define NAME_MAX_LEN 16

struct kill_params {
    uint64_t present;
    int64_t pid;
    const char *tag;
    msgpack_object signal; /* a name or a number */
    int scope;
};

static const char *const scopes[] = {"tree", "group", "leader", NULL}; /* as enum link_scope */

static const struct field fields[] = {
    FIELD(kill_params, pid, INT, .min = 1, .max = INT32_MAX),
    FIELD(kill_params, tag, STR),
    FIELD(kill_params, signal, ANY),
    FIELD(kill_params, scope, CHOICE, .choices = scopes),
    FIELDS_END,
};

enum { SIGNAL_BIT = 2 }; /* of `signal` in the table */

/* 0: no such signal */
static int signal_number(const msgpack_object *object) {
    char name[NAME_MAX_LEN] = {0};

    if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        return object->via.u64 <= SIGNAL_LAST ? (int)object->via.u64 : 0;
    if (object->type != MSGPACK_OBJECT_STR || object->via.str.size >= sizeof(name))
        return 0;
    memcpy(name, object->via.str.ptr, object->via.str.size);
    return signame_parse(name);
}

static void run(struct call *call, const void *params) {
    const struct kill_params *p = params;
    int number = p->present & 1u << SIGNAL_BIT ? signal_number(&p->signal) : SIGKILL;
    struct job *job;

    if (number == 0) {
        call_fail(call, STATUS_INVALID_REQUEST, 0, "signal",
                  "no such signal: a name, or a number from 1 to 64");
        return;
    }
    job = job_select(call, p->pid, p->tag);
    if (job)
        job_signal(job, call, number, (enum link_scope)p->scope);
}

const struct op op_process_kill = {"process.kill", fields, sizeof(struct kill_params), run,
                                   OP_WHILE_BUSY};
