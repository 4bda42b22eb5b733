#include "version.h"

#include "link.h"

const char guestd_version[] = GUESTD_VERSION;
const uint32_t guestd_link_version = LINK_VERSION;
const uint32_t guestd_link_least = LINK_LEAST;
