/* The supervisor's state into a memfd, for the executable that comes after this one: saved.h. */
#pragma once

struct saved_writer;
struct supervisor;

/*
 * For the upgrade's next stage (upgrade_save): what hangs on an agent is left out, and so are
 * starts that are under way. Returns the memfd or -errno. `writer` has the fds that the next one
 * needs; it is the caller's to free in any case.
 */
int save_state(const struct supervisor *supervisor, struct saved_writer *writer);
