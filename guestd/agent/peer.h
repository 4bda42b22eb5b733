/* Who may speak on a connection, by what the kernel says of its other end (PROTOCOL.md,
 * "Addresses"). */
#pragma once

#include <stddef.h>

#include "link.h"

/*
 * vsock: CID 2 (the host) and those of --allow-cid; local connections are refused. unix: uid 0 and
 * guestd's own uid (SO_PEERCRED, unix(7)). tcp: whoever shows the token later.
 *
 * Returns 0, -EACCES for a peer that is refused, or another -errno. Fills ret_name ("vsock:2", "uid
 * 0 pid 12") always.
 */
int peer_check(int fd, enum link_family family, const struct link_config *config, char *ret_name,
               size_t name_len);
