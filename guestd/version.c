#include "version.h"

#include "link.h"
#include "supervisor/saved.h"

const char guestd_version[] = GUESTD_VERSION;
const uint32_t guestd_link_version = LINK_VERSION;
const uint32_t guestd_link_least = LINK_LEAST;
const uint32_t guestd_saved_version = SAVED_VERSION;
