#include "agent/sweep.h"

#include "agent/agent.h"
#include "files/litter.h"

static void on_pool(uv_work_t *request) {
    (void)request;
    litter_start(LITTER_DIR);
}

static void on_swept(uv_work_t *request, int status) {
    (void)request, (void)status;
}

/* After the first agent's start there is nothing of this guestd's, and the pool costs threads: what
 * others left can wait for the first upload. */
void sweep_start(struct agent *agent) {
    static uv_work_t request;

    if (agent->hello.restarts > 0)
        uv_queue_work(&agent->loop, &request, on_pool, on_swept);
}
