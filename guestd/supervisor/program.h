/* PROGRAM of the command line: the job with the tag `main`, on guestd's own stdin, stdout and
 * stderr. */
#pragma once

struct supervisor;

void program_start(struct supervisor *supervisor);
/* It could not be started: guestd ends as a shell would, 127 for not found, 126 for the rest. */
void program_failed(struct supervisor *supervisor, int err);
