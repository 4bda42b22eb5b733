/* From a decoded message to the operation or stream that it is for. */
#pragma once

struct conn;
struct message;

/* `flaw` is what message_decode returned: 0, MESSAGE_METHOD or MESSAGE_PARAMS. */
void dispatch_message(struct conn *conn, const struct message *message, int flaw);
