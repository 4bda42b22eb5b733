/* guestctl's beginning and end: global options, the connection, how failures are told. */
#include "proto/client/guestctl.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/client/human.h"
#include "proto/client/json.h"
#include "proto/client/terminal.h"

#define TOKEN_MAX 4096

/* What a signal handler may reach. */
static struct guestproto *interruptible;

static void on_signal(int signal) {
    guestproto_cancel(interruptible);
}

int ctl_complain(const struct ctl *ctl, const char *fmt, ...) {
    va_list args;

    fflush(stdout);
    fprintf(stderr, "guestctl: ");
    if (ctl->command)
        fprintf(stderr, "%s: ", ctl->command->name);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputs(terminal_is_raw() ? "\r\n" : "\n", stderr);
    return EXIT_OWN;
}

struct guestproto_params *ctl_params(void) {
    struct guestproto_params *params = guestproto_params_new();

    if (!params) {
        fprintf(stderr, "guestctl: no memory\n");
        exit(EXIT_OWN);
    }
    return params;
}

static int exit_code_of(const struct guestproto_error *error, int r) {
    if (r < 0)
        return r == -ECANCELED ? EXIT_INTERRUPTED : EXIT_OWN;
    switch (error->code) {
    case GUESTPROTO_TIMEOUT:
        return EXIT_TIMED_OUT;
    case GUESTPROTO_CANCELLED:
        return EXIT_INTERRUPTED;
    default:
        return EXIT_GUEST;
    }
}

static void print_error_json(const struct guestproto_error *error) {
    printf("{\"error\":{\"code\":");
    json_write_text(stdout, error->code ? guestproto_code_name(error->code) : "connection");
    printf(",\"message\":");
    json_write_text(stdout, error->message);
    if (error->err)
        printf(",\"errno\":%d", error->err);
    if (error->field[0]) {
        printf(",\"field\":");
        json_write_text(stdout, error->field);
    }
    if (error->data.type != MSGPACK_OBJECT_NIL) {
        printf(",\"data\":");
        json_write(stdout, &error->data);
    }
    printf("}}\n");
}

int ctl_failed(const struct ctl *ctl, int r) {
    const struct guestproto_error *error = guestproto_error(ctl->client);

    if (ctl->json)
        print_error_json(error);
    fflush(stdout);
    fprintf(stderr, "guestctl: %s: ", ctl->command->name);
    if (error->code)
        fprintf(stderr, "%s: ", guestproto_code_name(error->code));
    human_text(stderr, error->message);
    if (error->field[0]) {
        fprintf(stderr, " (");
        human_text(stderr, error->field);
        fputc(')', stderr);
    }
    fputc('\n', stderr);
    return exit_code_of(error, r);
}

static void on_resumed(void *context, const char *method, const char *where) {
    if (*where)
        ctl_complain(context, "connection lost; resumed at %s", where);
    else
        ctl_complain(context, "connection lost; asked again");
}

/* The token without its last newline. Returns its length, or -1, told. */
static ssize_t read_token(const struct ctl *ctl, char *token) {
    int fd = open(ctl->token_file, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, token, TOKEN_MAX);

    if (len < 0)
        ctl_complain(ctl, "%s: %s", ctl->token_file, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (len > 0 && token[len - 1] == '\n')
        len--;
    return len;
}

int ctl_connect(struct ctl *ctl) {
    static char token[TOKEN_MAX];
    struct guestproto_options options = {
        .client = "guestctl/" GUESTD_VERSION,
        .resume_ms = ctl->resume_ms,
        .resumed = on_resumed,
        .resumed_context = ctl,
    };
    /* Once: a second Ctrl-C ends guestctl itself, for a guest that does not answer. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    ssize_t len;
    int r;

    if (!ctl->address)
        return ctl_complain(ctl, "where to? Give --connect ADDRESS or set GUESTCTL_CONNECT");
    if (ctl->token_file) {
        len = read_token(ctl, token);
        if (len < 0)
            return EXIT_OWN;
        options.token = token;
        options.token_len = (size_t)len;
    }
    ctl->client = guestproto_new(&options);
    if (!ctl->client)
        return ctl_complain(ctl, "%s", strerror(errno));
    r = guestproto_connect(ctl->client, ctl->address);
    if (r != 0) {
        ctl_failed(ctl, r);
        return EXIT_OWN;
    }
    interruptible = ctl->client;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    return 0;
}

int ctl_begin(struct ctl *ctl, int min, int max) {
    return options_operands(ctl, min, max) ? ctl_connect(ctl) : EXIT_OWN;
}

int ctl_call_simple(struct ctl *ctl, const char *method, struct guestproto_params *params) {
    struct guestproto_reply reply = {0};
    int r = guestproto_call(ctl->client, method, params, &reply);

    guestproto_params_free(params);
    if (r != 0)
        return ctl_failed(ctl, r);
    if (ctl->json)
        json_print(&reply.result);
    guestproto_reply_free(&reply);
    return EXIT_DONE;
}

static int run_help(const struct ctl *ctl, int argc, char **argv) {
    const struct command *command;

    if (argc < 2) {
        help_print();
        return EXIT_DONE;
    }
    command = command_find(argv[1]);
    if (!command)
        return ctl_complain(ctl, "no command \"%s\"", argv[1]);
    help_print_command(command);
    return EXIT_DONE;
}

/* What was printed must have arrived: a full disk behind stdout is a failure, told once. */
static int finish(struct ctl *ctl, int exit_code) {
    guestproto_free(ctl->client);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        if (errno != EPIPE)
            ctl_complain(ctl, "stdout: %s", strerror(errno));
        return exit_code ? exit_code : EXIT_OWN;
    }
    return exit_code;
}

static int run_command(struct ctl *ctl, int argc, char **argv) {
    if (strcmp(argv[0], "help") == 0)
        return run_help(ctl, argc, argv);
    ctl->command = command_find(argv[0]);
    if (!ctl->command) {
        for (const char *const *name = commands_later; *name; name++)
            if (strcmp(*name, argv[0]) == 0)
                return ctl_complain(ctl, "%s is not in this version", argv[0]);
        ctl_complain(ctl, "no command \"%s\"", argv[0]);
        fprintf(stderr, "Try: guestctl help\n");
        return EXIT_OWN;
    }
    ctl->argc = argc;
    ctl->argv = argv;
    optind = 0; /* makes both libcs begin anew */
    return ctl->command->run(ctl);
}

/* As the library has it: none is less than none at all. */
static int milliseconds(double seconds) {
    if (seconds <= 0)
        return -1;
    if (seconds > INT_MAX / 1000)
        return INT_MAX;
    return seconds < 0.001 ? 1 : (int)(seconds * 1000);
}

int main(int argc, char **argv) {
    enum { KEY_TOKEN_FILE = 256, KEY_RECONNECT, KEY_VERSION };
    static const struct option longs[] = {
        {"connect", required_argument, NULL, 'c'},
        {"json", no_argument, NULL, 'j'},
        {"token-file", required_argument, NULL, KEY_TOKEN_FILE},
        {"reconnect", required_argument, NULL, KEY_RECONNECT},
        {"version", no_argument, NULL, KEY_VERSION},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct ctl ctl = {.address = getenv("GUESTCTL_CONNECT")};
    double seconds;
    int key;

    signal(SIGPIPE, SIG_IGN);
    while ((key = getopt_long(argc, argv, "+c:jh", longs, NULL)) != -1) {
        switch (key) {
        case 'c':
            ctl.address = optarg;
            break;
        case 'j':
            ctl.json = true;
            break;
        case KEY_TOKEN_FILE:
            ctl.token_file = optarg;
            break;
        case KEY_RECONNECT:
            if (!options_seconds(&ctl, "--reconnect", optarg, &seconds))
                return EXIT_OWN;
            ctl.resume_ms = milliseconds(seconds);
            break;
        case KEY_VERSION:
            printf("guestctl %s\n", GUESTD_VERSION);
            return finish(&ctl, EXIT_DONE);
        case 'h':
            help_print();
            return finish(&ctl, EXIT_DONE);
        default:
            return EXIT_OWN;
        }
    }
    if (ctl.address && !*ctl.address)
        ctl.address = NULL;
    if (optind == argc) {
        help_print();
        return EXIT_OWN;
    }
    return finish(&ctl, run_command(&ctl, argc - optind, argv + optind));
}
