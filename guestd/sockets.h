/*
 * The listening sockets, which the supervisor keeps for all agents, and the token. Made before
 * anything else runs, by the addresses in settings.
 */
#pragma once

#include <stdbool.h>

struct settings;

/* The token of --token-file into the agent's configuration. Returns 0, or -EACCES (said on stderr):
 * never serve without a token that was asked for. */
int sockets_read_token(struct settings *settings);

/*
 * Listens on every address; LISTEN_FDS (sd_listen_fds(3)) or vsock:1024 where none is named.
 * settings->address then holds what is served.
 *
 * Returns 0 or -errno, said on stderr; where the settings are forgiving an address that can't be
 * had is left out.
 */
int sockets_listen(struct settings *settings);

/* One of the addresses is tcp: the loopback must be up before. */
bool sockets_need_network(const struct settings *settings);

/* settings->address of listeners that were made by another executable: from their names. */
void sockets_recall(struct settings *settings);

/* Removes the files of Unix sockets. */
void sockets_remove(const struct settings *settings);
