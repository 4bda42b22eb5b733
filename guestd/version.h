/*
 * Which build this is. Constants of a library of their own, not macros, so that a test can link the
 * same guestd under another version.
 */
#pragma once

#include <stdint.h>

extern const char guestd_version[];
extern const uint32_t guestd_link_version;  /* LINK_VERSION of guestd/link.h */
extern const uint32_t guestd_link_least;    /* LINK_LEAST */
extern const uint32_t guestd_saved_version; /* SAVED_VERSION of guestd/supervisor/saved.h */
