/* exec by key: the same request again joins the run that began. PROTOCOL.md, "Keys". */
#pragma once

#include "proto/client/request.h"

/* Runs an exec, `ask` without `again` and context. Its key is random where the caller gave none; a
 * guest that knows no keys is asked without one. As request_run. */
int key_run(struct guestproto *client, struct ask *ask, struct guestproto_reply *ret_reply);

/* "stdout 4096, stderr 0": where the channels of a stream go on. */
void key_where(const struct request *request, char *where);
