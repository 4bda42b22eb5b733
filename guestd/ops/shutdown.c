/* shutdown: TERM to all, grace, KILL, sync, then the power state. PROTOCOL.md, "shutdown". */
#include <errno.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/call.h"

enum { GRACE_MAX_S = 3600 };

struct shutdown_params {
    uint64_t present;
    int mode;
    double grace;
};

static const char *const modes[] = {"poweroff", "reboot", "exit",
                                    NULL}; /* as enum link_power_mode */

static const struct field fields[] = {
    FIELD(shutdown_params, mode, CHOICE, .required = true, .choices = modes),
    FIELD(shutdown_params, grace, NUMBER, .otherwise.d = 5),
    FIELDS_END,
};

static void on_done(int err, void *arg) {
    struct call *call = arg;

    if (err == EPERM)
        call_fail(call, STATUS_PERMISSION_DENIED, err, "mode",
                  "guestd is not the machine's init: only exit is possible");
    else if (err)
        call_fail(call, status_from_errno(err), err, NULL, "shutdown: %s", strerror(err));
    else
        call_reply_empty(call);
    call_unref(call);
}

static void run(struct call *call, const void *params) {
    const struct shutdown_params *p = params;
    int r;

    if (p->grace > GRACE_MAX_S) {
        call_fail(call, STATUS_INVALID_REQUEST, 0, "grace", "grace is at most %d s", GRACE_MAX_S);
        return;
    }
    r = agent_power(call_agent(call), (enum link_power_mode)p->mode, (uint32_t)(p->grace * 1000),
                    on_done, call_ref(call));
    if (r < 0)
        on_done(-r, call);
}

const struct op op_shutdown = {"shutdown", fields, sizeof(struct shutdown_params), run,
                               OP_WHILE_BUSY};
