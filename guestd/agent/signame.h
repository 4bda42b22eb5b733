/* Signals by name and number, as signal(7) has them for this architecture. */
#pragma once

/* "SIGKILL", "SIGRTMIN+3"; NULL for what is no signal. The text is static, until the next call. */
const char *signame_of(int number);

/* The number of a name, with or without SIG, in capitals; 0: no such signal. */
int signame_parse(const char *name);
