/* What the agent asks for. It may be captured: sizes, numbers and fds are checked before anything
 * is done. */
#pragma once

struct supervisor;

/* Takes a bounded number of messages from the link. One that breaks the rules ends the agent. */
void orders_take(struct supervisor *supervisor);
/* The agent is gone: takes what it had still ordered. */
void orders_take_last(struct supervisor *supervisor);
