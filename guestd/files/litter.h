/*
 * Temporary names that a killed agent left behind. Where a file can only be replaced through a
 * temporary name, that name is noted first, as a symlink in a folder of this agent below
 * `LITTER_DIR`, whose lock (flock(2)) ends with the process. The next agent removes what the notes
 * in unlocked folders lead to, and only names that begin with LITTER_PREFIX.
 *
 * Notes are a help, never a condition: without a writable /run uploads work, and a kill in the
 * wrong moment leaves a name.
 */
#pragma once

#define LITTER_DIR "/run/guestd/uploads"
#define LITTER_PREFIX ".guestd-"

/*
 * From any thread, as guestd itself: sweeps after dead agents, then makes this one's folder; the
 * second call and any later do nothing. May wait for a disk. `dir` is made if it is missing.
 * Returns 0 or -errno (then no notes are taken).
 */
int litter_start(const char *dir);

/* Notes dir/name. Returns a number for litter_forget, or 0 when it could not be noted. */
unsigned litter_note(int dir, const char *name);
void litter_forget(unsigned note);
