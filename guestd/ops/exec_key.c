/*
 * exec with a key: the same request, asked again, joins the run that the first began: from any
 * connection, and after the agent's death. PROTOCOL.md, "Keys".
 */
#include <errno.h>

#include "agent/agent.h"
#include "ops/exec_private.h"

bool exec_key_read(struct exec *exec, const struct field *fields) {
    static const char *const aside[] = {"key", "window", NULL};
    struct call *call = exec->call;

    if (exec->params->key[0] == '\0') {
        call_fail(call, STATUS_INVALID_REQUEST, 0, "key", "a key has 1 to 256 bytes");
        return false;
    }
    if (params_digest(fields, exec->params, aside, exec->digest) < 0) {
        call_fail(call, STATUS_INTERNAL, ENOMEM, NULL, "no memory for the request");
        return false;
    }
    return true;
}

bool exec_key_join(struct exec *exec) {
    struct job *job = jobs_find_key(call_agent(exec->call)->jobs, exec->params->key);

    if (!job)
        return false;
    if (job_same_request(job, exec->digest))
        exec_follow_run(exec, job);
    else
        call_fail(exec->call, STATUS_ALREADY_EXISTS, 0, "key",
                  "the key was used for another request");
    return true;
}
