#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "proto/limits.h"
#include "version.h"

#define GRACE_DEFAULT_MS 5000
#define LOG_LEVEL_DEFAULT 2 /* info */
#define NESTING_MOST 32     /* msgpack-c's own stack ends there */
#define GRACE_MAX_S 3600
#define KERNEL_WORDS 512

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
    "    on the kernel's command line, as guestd.OPTION=VALUE, and PROGRAM behind a --.\n"
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
    "    --ready ADDRESS      Connect there once guestd serves, and say so.\n"
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
    "    NOTIFY_SOCKET, WATCHDOG_USEC   A service manager that is told, as by sd_notify(3).\n"
    "    GUESTD_NO_CGROUP=1       Don't use cgroups: kill process trees by what /proc tells.\n"
    "    GUESTD_NO_CGROUP_KILL=1  Kill a cgroup's processes one by one, frozen (Linux before "
    "5.14).\n"
    "    GUESTD_NO_CLONE3=1       Start programs by fork(2), and use no pidfds (before 5.3).\n"
    "    GUESTD_NO_CLONE_INTO_CGROUP=1\n"
    "                             Programs move into their cgroup themselves (before 5.7).\n"
    "    GUESTD_NO_SECCOMP=1      Run the agent without its system call filter. For debuggers.\n"
    "    GUESTD_*, LISTEN_* and NOTIFY_SOCKET don't reach programs.\n"
    "\n"
    "EXIT STATUS\n"
    "    0 after SIGTERM, SIGINT or a client's shutdown; PROGRAM's if there is one (127: not\n"
    "    found, 126: can't be started); 1 if guestd can't serve; 2 for a wrong command line.\n";

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
    if (limit == LIMIT_nesting && number > NESTING_MOST)
        return wrong(settings, "--%s: at most %d", name, NESTING_MOST);
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
        printf("guestd %s\n", guestd_version);
        return 1;
    case '?':
        fputs("guestd: see guestd --help\n", stderr);
        return settings->forgiving ? 0 : -EINVAL;
    default:
        return take_limit(settings, name, (unsigned)value - OPTION_LIMIT, text);
    }
}

int options_parse(struct settings *settings, int argc, char **argv) {
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

void options_parse_kernel_line(struct settings *settings) {
    static char line[4096], *words[KERNEL_WORDS + 1], *argv[KERNEL_WORDS + 2], name[] = "guestd";
    FILE *file = fopen("/proc/cmdline", "re");
    size_t len = file != NULL ? fread(line, 1, sizeof line - 1, file) : 0;
    if (file != NULL)
        fclose(file);
    line[len] = 0;
    int count = 0, argc = 0;
    for (char *rest = line, *word;
         (word = strsep(&rest, " \t\n")) != NULL && count < KERNEL_WORDS;) {
        if (word[0] != 0)
            words[count++] = word;
    }
    argv[argc++] = name;
    for (char **word = words; *word != NULL && strcmp(*word, "--") != 0; word++) {
        char *option;
        if (strncmp(*word, "guestd.", 7) == 0 && asprintf(&option, "--%s", *word + 7) > 0)
            argv[argc++] = option;
    }
    options_parse(settings, argc, argv);
    settings->options.program = NULL;
    settings->kernel_words = words;
}

void options_drop_kernel_words(struct settings *settings) {
    char *const *program = settings->options.program, *const *word = settings->kernel_words;
    if (program == NULL || word == NULL)
        return;
    for (; *word != NULL && strcmp(*word, "--") != 0 && *program != NULL; word++)
        program += strcmp(*word, *program) == 0;
    settings->options.program = *program != NULL ? program : NULL;
}

/* ── defaults ── */

/* Output may take an eighth of the machine's memory, or what the table says if that is less. */
static void fit_output_total(struct link_config *config) {
    struct sysinfo machine;
    if (sysinfo(&machine) < 0)
        return;
    uint64_t eighth = (uint64_t)machine.totalram * machine.mem_unit / 8;
    if (config->limit[LIMIT_output_total] > eighth)
        config->limit[LIMIT_output_total] = eighth;
}

void options_init(struct settings *settings) {
    settings->options.grace_ms = GRACE_DEFAULT_MS;
    settings->options.config.log_level = LOG_LEVEL_DEFAULT;
#define X(id, otherwise, help) settings->options.config.limit[LIMIT_##id] = (otherwise);
    LIMITS(X)
#undef X
    fit_output_total(&settings->options.config);
}
