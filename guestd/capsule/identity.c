#include "capsule/identity.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "capsule/procfile.h"

int capsule_identity_read(struct capsule_identity *ret) {
    struct utsname name;

    if (uname(&name) < 0)
        return -errno;
    *ret = (struct capsule_identity){0};
    if (procfile_read("/proc/sys/kernel/random/boot_id", ret->boot_id, sizeof(ret->boot_id)) < 0)
        ret->boot_id[0] = '\0';
    ret->boot_id[strcspn(ret->boot_id, "\n")] = '\0';
    snprintf(ret->hostname, sizeof(ret->hostname), "%s", name.nodename);
    snprintf(ret->kernel, sizeof(ret->kernel), "%s", name.release);
    snprintf(ret->arch, sizeof(ret->arch), "%s", name.machine);
    return 0;
}
