/*
 * Which machine this is: read from the kernel, nothing kept.
 */
#pragma once

struct capsule_identity {
    char boot_id[40];
    char hostname[65];
    char kernel[65]; /* release */
    char arch[65];
};

/* Returns 0 or -errno of uname(2). A boot id that can't be read (no /proc) is "". */
int capsule_identity_read(struct capsule_identity *ret);
