/*
 * guestd: options and roles. The supervisor is what was started; the agent is this same file,
 * started by the supervisor with LINK_ROLE as its argument and its end of the link on LINK_FD.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "agent/agent.h"
#include "link.h"
#include "proto/address.h"
#include "proto/limits.h"
#include "sandbox/filter.h"
#include "sandbox/privilege.h"
#include "supervisor/boot.h"
#include "supervisor/supervisor.h"

#define EXIT_USAGE 2
#define BACKLOG 128
#define GRACE_DEFAULT_MS 5000
#define GRACE_MAX_S 3600

static const char HELP[] =
    "NAME\n"
    "    guestd - run programs and keep files in a capsule, for a host\n"
    "\n"
    "SYNOPSIS\n"
    "    guestd [OPTIONS] [-- PROGRAM ARGS...]\n"
    "\n"
    "DESCRIPTION\n"
    "    guestd serves the requests of a host: it runs programs and tells how they ended, and it\n"
    "    reads, writes, lists and removes files. It is made to be PID 1 of a microVM or a\n"
    "    container, and runs beside any other init as well.\n"
    "\n"
    "    As the machine's init it mounts what is missing of /proc, /sys, /dev, /run, /tmp and\n"
    "    cgroup2, brings the loopback up and sets the hostname; every option can then also stand\n"
    "    on the kernel's command line, as guestd.OPTION=VALUE.\n"
    "\n"
    "    PROGRAM is started beside the service, on guestd's own stdin, stdout and stderr, and is\n"
    "    known to clients by the tag main. When it ends, guestd ends with its exit code (128 + N\n"
    "    after signal N), or powers off if it is the machine's init.\n"
    "\n"
    "    SIGTERM and SIGINT end guestd in order: programs get SIGTERM, a grace, and SIGKILL.\n"
    "\n"
    "OPTIONS\n"
    "    --listen ADDRESS     Serve there; may be repeated. Default: vsock:1024.\n"
    "    --token-file FILE    Clients must show the token in FILE (a newline at its end is not "
    "part\n"
    "                         of it) before anything else. FILE may be removed afterwards.\n"
    "    --no-token           Serve a tcp: address without a token: whoever reaches the port may\n"
    "                         run programs as root. For tests.\n"
    "    --allow-cid N        Serve vsock peers with this CID beside the host's, 2; may be\n"
    "                         repeated.\n"
    "    --ready ADDRESS      Connect there once all is up, and say so.\n"
    "    --hostname NAME      The machine's init: the name. Default: that in /etc/hostname, else\n"
    "                         capsule.\n"
    "    --grace SECONDS      From SIGTERM to SIGKILL when guestd ends. Default: 5.\n"
    "    --log-level LEVEL    error, warning, info or debug. Default: info.\n"
    "    --help, --version\n"
    "\n"
    "ADDRESSES\n"
    "    vsock:PORT           AF_VSOCK, any CID of this machine (vsock:CID:PORT: that one).\n"
    "    unix:/PATH           A socket with mode 0600; root and guestd's own user may speak.\n"
    "    tcp:HOST:PORT        Needs a token.\n"
    "    fd:N                 An inherited listening socket. Sockets passed by LISTEN_FDS are\n"
    "                         served instead of the default.\n"
    "\n"
    "LIMITS\n";

static const char HELP_END[] =
    "\n"
    "ENVIRONMENT\n"
    "    LISTEN_FDS, LISTEN_PID   Sockets passed by a service manager, from fd 3 on.\n"
    "    GUESTD_NO_CGROUP=1       Don't use cgroups: kill process trees by what /proc tells.\n"
    "    GUESTD_NO_CLONE3=1       Start programs by fork(2), and use no pidfds.\n"
    "    GUESTD_NO_SECCOMP=1      Run the agent without its system call filter. For debuggers.\n"
    "    None of these, nor NOTIFY_SOCKET, reaches programs.\n"
    "\n"
    "EXIT STATUS\n"
    "    0 after SIGTERM, SIGINT or a client's shutdown; PROGRAM's if there is one (127: not\n"
    "    found, 126: can't be started); 1 if guestd can't serve; 2 for a wrong command line.\n";

struct settings {
    struct supervisor_options options;
    struct address address[LINK_LISTENERS]; /* beside options.listener: what to remove at the end */
    const char *token_file, *hostname;
    bool no_token;
    bool forgiving; /* the machine's init: a wrong option must not be the end of the machine */
};

/* ── help ── */

static void dashes(char *name) {
    for (; *name != 0; name++)
        *name = *name == '_' ? '-' : *name;
}

static void print_help(void) {
    fputs(HELP, stdout);
#define X(id, otherwise, help)                                                          \
    {                                                                                   \
        char name[] = #id;                                                              \
        dashes(name);                                                                   \
        printf("    --%-20s %s (%llu)\n", name, help, (unsigned long long)(otherwise)); \
    }
    LIMITS(X)
#undef X
    fputs(HELP_END, stdout);
}

/* ── options ── */

enum option_value {
    OPTION_LISTEN = 256,
    OPTION_TOKEN_FILE,
    OPTION_NO_TOKEN,
    OPTION_ALLOW_CID,
    OPTION_READY,
    OPTION_HOSTNAME,
    OPTION_GRACE,
    OPTION_LOG_LEVEL,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_LIMIT, /* + enum limit */
};

__attribute__((format(printf, 2, 3))) static int wrong(const struct settings *settings,
                                                       const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("guestd: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return settings->forgiving ? 0 : -EINVAL;
}

static bool parse_number(const char *text, uint64_t most, uint64_t *ret) {
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != 0 || errno != 0 || number > most)
        return false;
    *ret = number;
    return true;
}

static int take_listen(struct settings *settings, const char *text) {
    struct supervisor_options *options = &settings->options;
    if (options->listeners == LINK_LISTENERS)
        return wrong(settings, "--listen: at most %d addresses", LINK_LISTENERS);
    if (address_parse(text, &settings->address[options->listeners]) < 0)
        return wrong(settings, "--listen: '%s' is no address", text);
    options->listeners++;
    return 0;
}

static int take_grace(struct settings *settings, const char *text) {
    char *end;
    double seconds = strtod(text, &end);
    if (end == text || *end != 0 || !(seconds >= 0 && seconds <= GRACE_MAX_S))
        return wrong(settings, "--grace: '%s' is no number of seconds", text);
    settings->options.grace_ms = (uint32_t)(seconds * 1000);
    return 0;
}

static int take_log_level(struct settings *settings, const char *text) {
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    for (unsigned i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (strcmp(text, levels[i]) == 0) {
            settings->options.config.log_level = i;
            return 0;
        }
    }
    return wrong(settings, "--log-level: '%s' is none of error, warning, info, debug", text);
}

static int take_cid(struct settings *settings, const char *text) {
    struct link_config *config = &settings->options.config;
    uint64_t cid;
    if (config->allow_cids == sizeof config->allow_cid / sizeof *config->allow_cid)
        return wrong(settings, "--allow-cid: too many");
    if (!parse_number(text, UINT32_MAX, &cid))
        return wrong(settings, "--allow-cid: '%s' is no CID", text);
    config->allow_cid[config->allow_cids++] = (uint32_t)cid;
    return 0;
}

static int take_ready(struct settings *settings, const char *text) {
    struct link_config *config = &settings->options.config;
    struct address address;
    if (address_parse(text, &address) < 0 || strlen(text) >= sizeof config->ready)
        return wrong(settings, "--ready: '%s' is no address", text);
    strcpy(config->ready, text);
    return 0;
}

static int take_limit(struct settings *settings, const char *name, unsigned limit,
                      const char *text) {
    uint64_t number;
    if (!parse_number(text, INT64_MAX, &number) || number == 0)
        return wrong(settings, "--%s: '%s' is no positive number", name, text);
    settings->options.config.limit[limit] = number;
    return 0;
}

/* 0, -EINVAL (said already), or 1: an option that answers and ends. */
static int take(struct settings *settings, int value, const char *name, const char *text) {
    switch (value) {
    case OPTION_LISTEN:
        return take_listen(settings, text);
    case OPTION_TOKEN_FILE:
        settings->token_file = text;
        return 0;
    case OPTION_NO_TOKEN:
        settings->no_token = true;
        return 0;
    case OPTION_ALLOW_CID:
        return take_cid(settings, text);
    case OPTION_READY:
        return take_ready(settings, text);
    case OPTION_HOSTNAME:
        settings->hostname = text;
        return 0;
    case OPTION_GRACE:
        return take_grace(settings, text);
    case OPTION_LOG_LEVEL:
        return take_log_level(settings, text);
    case OPTION_HELP:
        print_help();
        return 1;
    case OPTION_VERSION:
        puts("guestd " GUESTD_VERSION);
        return 1;
    case '?':
        fputs("guestd: see guestd --help\n", stderr);
        return settings->forgiving ? 0 : -EINVAL;
    default:
        return take_limit(settings, name, (unsigned)value - OPTION_LIMIT, text);
    }
}

static int parse(struct settings *settings, int argc, char **argv) {
#define X(id, otherwise, help) static char name_##id[] = #id;
    LIMITS(X)
#undef X
    static const struct option table[] = {
        {"listen", required_argument, NULL, OPTION_LISTEN},
        {"token-file", required_argument, NULL, OPTION_TOKEN_FILE},
        {"no-token", no_argument, NULL, OPTION_NO_TOKEN},
        {"allow-cid", required_argument, NULL, OPTION_ALLOW_CID},
        {"ready", required_argument, NULL, OPTION_READY},
        {"hostname", required_argument, NULL, OPTION_HOSTNAME},
        {"grace", required_argument, NULL, OPTION_GRACE},
        {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
        {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION},
#define X(id, otherwise, help) {name_##id, required_argument, NULL, OPTION_LIMIT + LIMIT_##id},
        LIMITS(X)
#undef X
            {0},
    };
#define X(id, otherwise, help) dashes(name_##id);
    LIMITS(X)
#undef X
    int result = 0, index = 0;
    optind = 1;
    while (result == 0) {
        int value = getopt_long(argc, argv, "+", table, &index);
        if (value < 0)
            break;
        result = take(settings, value, table[index].name, optarg);
    }
    if (optind < argc && argv[optind] != NULL)
        settings->options.program = argv + optind;
    return result;
}

/* guestd.KEY=VALUE of the kernel's command line; a KEY alone is an option without a value. */
static void parse_kernel_line(struct settings *settings) {
    static char line[4096], *argv[128], name[] = "guestd";
    FILE *file = fopen("/proc/cmdline", "re");
    size_t len = file != NULL ? fread(line, 1, sizeof line - 1, file) : 0;
    if (file != NULL)
        fclose(file);
    line[len] = 0;
    int argc = 0;
    argv[argc++] = name;
    for (char *rest = line, *word; (word = strsep(&rest, " \t\n")) != NULL && argc < 127;) {
        char *option;
        if (strcmp(word, "--") == 0)
            break;
        if (strncmp(word, "guestd.", 7) == 0 && asprintf(&option, "--%s", word + 7) > 0)
            argv[argc++] = option;
    }
    parse(settings, argc, argv);
    settings->options.program = NULL;
}

/* ── sockets and token ── */

static void add_listener(struct settings *settings, unsigned i, int fd) {
    static const enum link_family families[] = {
        [ADDRESS_VSOCK] = LINK_FAMILY_VSOCK,
        [ADDRESS_UNIX] = LINK_FAMILY_UNIX,
        [ADDRESS_TCP] = LINK_FAMILY_TCP,
    };
    struct link_listener *told = &settings->options.listener[i].told;
    enum address_family family = settings->address[i].family;
    settings->options.listener[i].fd = fd;
    address_format(&settings->address[i], told->name, sizeof told->name);
    if (family == ADDRESS_FD) {
        int domain = 0;
        socklen_t len = sizeof domain;
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
        family = domain == AF_UNIX    ? ADDRESS_UNIX
                 : domain == AF_VSOCK ? ADDRESS_VSOCK
                                      : ADDRESS_TCP;
    }
    told->family = families[family];
}

/* A port is open to whoever reaches it. */
static bool may_serve(const struct settings *settings, unsigned i) {
    const struct link_listener *told = &settings->options.listener[i].told;
    if (told->family != LINK_FAMILY_TCP || settings->options.config.token_len > 0)
        return true;
    if (settings->no_token)
        fprintf(stderr, "guestd: without a token, whoever reaches %s may do anything here\n",
                told->name);
    else
        fprintf(stderr, "guestd: %s needs --token-file (or --no-token, for tests)\n", told->name);
    return settings->no_token;
}

static int listen_all(struct settings *settings) {
    struct supervisor_options *options = &settings->options;
    unsigned served = 0;
    for (unsigned i = 0; i < options->listeners; i++) {
        char name[128];
        struct address *address = &settings->address[i];
        address_format(address, name, sizeof name);
        int fd = address_listen(address, BACKLOG);
        if (fd < 0) {
            wrong(settings, "can't listen on %s: %s%s", name, strerror(-fd),
                  address->family == ADDRESS_VSOCK ? " (without vsock: --listen unix:/PATH)" : "");
            if (!settings->forgiving)
                return fd;
            continue;
        }
        settings->address[served] = *address;
        add_listener(settings, served, fd);
        if (!may_serve(settings, served))
            return -EACCES;
        served++;
    }
    options->listeners = served;
    return 0;
}

/* LISTEN_FDS, sd_listen_fds(3); else the default. */
static void choose_default(struct settings *settings) {
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    uint64_t count = 0;
    if (fds != NULL && pid != NULL && strtoull(pid, NULL, 10) == (unsigned long long)getpid())
        parse_number(fds, LINK_LISTENERS, &count);
    for (uint64_t i = 0; i < count && settings->options.listeners < LINK_LISTENERS; i++)
        settings->address[settings->options.listeners++] =
            (struct address){.family = ADDRESS_FD, .fd = 3 + (int)i};
    if (settings->options.listeners == 0)
        settings->address[settings->options.listeners++] =
            (struct address){.family = ADDRESS_VSOCK, .cid = UINT32_MAX, .port = DEFAULT_PORT};
}

static int read_token(struct settings *settings) {
    struct link_config *config = &settings->options.config;
    if (settings->token_file == NULL)
        return 0;
    /* One byte more than fits, to see that there isn't one. */
    char text[LINK_TOKEN + 2];
    int fd = open(settings->token_file, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof text) : -1;
    int err = errno;
    if (fd >= 0)
        close(fd);
    if (len > 0 && text[len - 1] == '\n')
        len--;
    if (len > 0 && len <= LINK_TOKEN) {
        memcpy(config->token, text, (size_t)len);
        config->token_len = (uint32_t)len;
        return 0;
    }
    fprintf(stderr, "guestd: the token file %s: %s\n", settings->token_file,
            len < 0    ? strerror(err)
            : len == 0 ? "empty"
                       : "longer than 256 bytes");
    return -EACCES;
}

/* ── roles ── */

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
    int err = read_token(settings);
    if (err < 0)
        return err;
    choose_default(settings);
    err = listen_all(settings);
    settings->options.output_total = settings->options.config.limit[LIMIT_output_total];
    settings->options.max_jobs = settings->options.config.limit[LIMIT_processes];
    settings->options.executable = open("/proc/self/exe", O_PATH | O_CLOEXEC);
    return err;
}

/* Output may take an eighth of the machine's memory, or what the table says if that is less. */
static void fit_output_total(struct link_config *config) {
    struct sysinfo machine;
    if (sysinfo(&machine) < 0)
        return;
    uint64_t eighth = (uint64_t)machine.totalram * machine.mem_unit / 8;
    if (config->limit[LIMIT_output_total] > eighth)
        config->limit[LIMIT_output_total] = eighth;
}

static int supervise(int argc, char **argv) {
    static struct settings settings;
    settings.options.grace_ms = GRACE_DEFAULT_MS;
    settings.options.config.log_level = 2;
#define X(id, otherwise, help) settings.options.config.limit[LIMIT_##id] = (otherwise);
    LIMITS(X)
#undef X
    fit_output_total(&settings.options.config);
    if (getpid() == 1)
        boot_proc();
    if (boot_is_init()) {
        settings.options.is_init = settings.forgiving = true;
        boot_machine();
        parse_kernel_line(&settings);
    }
    int result = parse(&settings, argc, argv);
    if (result != 0)
        return result < 0 ? EXIT_USAGE : 0;
    if (settings.options.is_init)
        boot_names(settings.hostname);
    int err = prepare(&settings);
    if (err < 0 && !settings.forgiving)
        return 1;
    if (err < 0)
        settings.options.listeners = 0; /* PROGRAM may still run; the machine must not panic */
    int code = supervisor_run(&settings.options);
    for (unsigned i = 0; i < settings.options.listeners; i++) {
        if (settings.address[i].family == ADDRESS_UNIX)
            unlink(settings.address[i].path);
    }
    return code;
}

int main(int argc, char **argv) {
    if (is_agent(argc, argv)) {
        prctl(PR_SET_NAME, "guestd-agent");
        exit(agent_main(confine));
    }
    supervisor_early();
    exit(supervise(argc, argv));
}
