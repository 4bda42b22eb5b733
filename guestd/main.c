/*
 * guestd: the roles. The supervisor is what was started, or what that executed in its own place;
 * the agent is this same file, started by the supervisor with LINK_ROLE as its argument and its end
 * of the link on LINK_FD.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/agent.h"
#include "link.h"
#include "options.h"
#include "proto/limits.h"
#include "sandbox/filter.h"
#include "sandbox/privilege.h"
#include "sockets.h"
#include "supervisor/boot.h"
#include "supervisor/reexec.h"
#include "supervisor/supervisor.h"

#define EXIT_USAGE 2

static int confine(void) {
    if (getenv("GUESTD_NO_SECCOMP") != NULL)
        return 0;
    int err = privilege_drop();
    return err < 0 ? err : filter_agent_load();
}

static bool is_agent(int argc, char **argv) {
    int type = 0;
    socklen_t len = sizeof type;
    return argc == 2 && strcmp(argv[1], LINK_ROLE) == 0 &&
           getsockopt(LINK_FD, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

/* The machine's init goes on without what can't be had, but never without a token that was asked
 * for. */
static int prepare(struct settings *settings) {
    settings->options.output_total = settings->options.config.limit[LIMIT_output_total];
    settings->options.stdin_buffer = settings->options.config.limit[LIMIT_stdin_buffer];
    settings->options.stdin_total = settings->options.config.limit[LIMIT_queue_total];
    settings->options.max_jobs = settings->options.config.limit[LIMIT_processes];
    settings->options.executable = open("/proc/self/exe", O_PATH | O_CLOEXEC);
    int err = sockets_read_token(settings);
    return err < 0 ? err : sockets_listen(settings);
}

static int supervise(int argc, char **argv) {
    static struct settings settings;
    options_init(&settings);
    settings.options.arguments = argv;
    if (getpid() == 1)
        boot_proc();
    if (boot_is_init()) {
        settings.options.is_init = settings.forgiving = true;
        boot_machine();
        options_parse_kernel_line(&settings);
    }
    int result = options_parse(&settings, argc, argv);
    if (result != 0 && !settings.forgiving)
        return result < 0 ? EXIT_USAGE : 0;
    options_drop_kernel_words(&settings);
    if (settings.options.is_init)
        boot_names(settings.hostname);
    if (settings.options.is_init && sockets_need_network(&settings))
        boot_network();
    int err = prepare(&settings);
    if (err < 0 && !settings.forgiving)
        return 1;
    if (err < 0)
        settings.options.listeners = 0; /* PROGRAM may still run; the machine must not panic */
    int code = supervisor_run(&settings.options);
    sockets_remove(&settings);
    return code;
}

/* An init must not end: who has lost its state, and the way back too, begins anew. */
static int resume(int argc, char **argv, int fd, bool back) {
    static struct settings settings;
    options_init(&settings);
    settings.options.arguments = argv;
    int code = supervisor_resume(&settings.options, fd, back);
    if (code < 0) {
#ifdef SYS_close_range
        syscall(SYS_close_range, 3u, ~0u, 0u);
#endif
        return supervise(argc, argv);
    }
    sockets_recall(&settings);
    sockets_remove(&settings);
    return code;
}

int main(int argc, char **argv) {
    int state;
    if (is_agent(argc, argv)) {
        prctl(PR_SET_NAME, "guestd-agent");
        exit(agent_main(confine));
    }
    enum reexec_role role = reexec_role(&argc, argv, &state);
    if (role == REEXEC_ASK)
        exit(reexec_answer(state));
    supervisor_early();
    exit(role == REEXEC_NONE ? supervise(argc, argv)
                             : resume(argc, argv, state, role == REEXEC_BACK));
}
