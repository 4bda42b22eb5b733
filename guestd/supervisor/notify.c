#include "supervisor/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/note.h"
#include "supervisor/state.h"

#define WATCHDOG_LEAST_US 2
#define WATCHDOG_MOST_US (UINT64_C(86400) * 1000000)

/* A path, or a name of the abstract space behind '@'. */
static socklen_t parse(const char *name, struct sockaddr_un *ret) {
    size_t len = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || len < 2 || len >= sizeof ret->sun_path)
        return 0;
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret->sun_path, name, len);
    if (name[0] == '@')
        ret->sun_path[0] = 0;
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (name[0] == '/'));
}

/* A socket each time: the manager's may have been made anew. One that is full is not waited for. */
static void tell(const struct notify *notify, const char *state) {
    if (notify->address_len == 0)
        return;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL,
                         (const struct sockaddr *)&notify->address, notify->address_len) < 0)
        note("the service manager can't be told %s: %s", state, strerror(errno));
    if (fd >= 0)
        close(fd);
}

static void on_watchdog(struct deadline *deadline) {
    struct supervisor *supervisor = container_of(deadline, struct supervisor, notify.watchdog);
    struct notify *notify = &supervisor->notify;
    tell(notify, "WATCHDOG=1");
    deadline_arm(&supervisor->loop.deadlines, deadline, clock_now() + notify->watchdog_ns);
}

/* Twice in the manager's time. WATCHDOG_PID says whom it means: a shell passes both on to all. */
static int64_t watchdog_ns(const struct supervisor *supervisor) {
    const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (us == NULL || (pid != NULL && strtoll(pid, NULL, 10) != supervisor->pid))
        return 0;
    uint64_t span = strtoull(us, NULL, 10);
    return span < WATCHDOG_LEAST_US || span > WATCHDOG_MOST_US ? 0 : (int64_t)span * 1000 / 2;
}

void notify_init(struct supervisor *supervisor) {
    struct notify *notify = &supervisor->notify;
    const char *name = getenv("NOTIFY_SOCKET");
    notify->watchdog.fire = on_watchdog;
    if (name == NULL || (notify->address_len = parse(name, &notify->address)) == 0)
        return;
    notify->watchdog_ns = watchdog_ns(supervisor);
    if (notify->watchdog_ns > 0)
        on_watchdog(&notify->watchdog);
}

void notify_served(struct supervisor *supervisor) {
    if (!supervisor->notify.ready)
        tell(&supervisor->notify, "READY=1");
    supervisor->notify.ready = true;
}

void notify_stopping(struct supervisor *supervisor) {
    tell(&supervisor->notify, "STOPPING=1");
}
