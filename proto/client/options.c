/* The commands' options, parsed from the same table that prints their help. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/client/guestctl.h"

#define OPTIONS_MAX 40
#define KEY_HELP 'h'

/* getopt's two forms of one table. */
struct forms {
    struct option longs[OPTIONS_MAX + 2];
    char shorts[OPTIONS_MAX * 2 + 8];
};

static void forms_make(const struct command *command, struct forms *forms) {
    const struct option_row *row = command->options;
    char *shorts = forms->shorts;
    size_t n = 0;

    if (command->options_first)
        *shorts++ = '+';
    *shorts++ = ':';
    for (; row && row->text && n < OPTIONS_MAX; row++) {
        if (row->name)
            forms->longs[n++] = (struct option){
                row->name, row->argument ? required_argument : no_argument, NULL, row->key};
        if (row->key < 256) {
            *shorts++ = (char)row->key;
            if (row->argument)
                *shorts++ = ':';
        }
    }
    forms->longs[n++] = (struct option){"help", no_argument, NULL, KEY_HELP};
    forms->longs[n] = (struct option){0};
    *shorts++ = KEY_HELP;
    *shorts = '\0';
}

static int stop(struct ctl *ctl, int exit_code) {
    ctl->exit_code = exit_code;
    return -1;
}

static const struct option_row *row_of(const struct command *command, int key) {
    const struct option_row *row = command->options;

    while (row && row->text && row->key != key)
        row++;
    return row && row->text ? row : NULL;
}

int options_next(struct ctl *ctl, const char **ret_argument) {
    const char *name = ctl->argv[optind > 0 ? optind : 1];
    const struct option_row *row;
    struct forms forms;
    int key;

    forms_make(ctl->command, &forms);
    opterr = 0;
    key = getopt_long(ctl->argc, ctl->argv, forms.shorts, forms.longs, NULL);
    if (key == -1) {
        ctl->argc -= optind;
        ctl->argv += optind;
        return 0;
    }
    if (key == '?' || key == ':') {
        /* Of a bundle of letters getopt tells which one; a long option it names by its place only.
         */
        if (optopt > 0 && optopt < 256)
            ctl_complain(ctl, key == ':' ? "-%c needs a value" : "no option -%c", optopt);
        else
            ctl_complain(ctl, key == ':' ? "%s needs a value" : "no option %s",
                         ctl->argv[optind - 1]);
        fprintf(stderr, "Try: guestctl help %s\n", ctl->command->name);
        return stop(ctl, EXIT_OWN);
    }
    row = row_of(ctl->command, key);
    if (!row) {
        help_print_command(ctl->command);
        return stop(ctl, EXIT_DONE);
    }
    if (row->later)
        return stop(ctl, ctl_complain(ctl, "%s is not in this version", name ? name : row->name));
    *ret_argument = optarg;
    return key;
}

bool options_operands(struct ctl *ctl, int min, int max) {
    if (ctl->argc >= min && (max < 0 || ctl->argc <= max))
        return true;
    ctl_complain(ctl, ctl->argc < min ? "something is missing" : "too much: \"%s\"",
                 ctl->argc < min ? "" : ctl->argv[max]);
    fprintf(stderr, "Usage: guestctl %s %s\n", ctl->command->name, ctl->command->usage);
    ctl->exit_code = EXIT_OWN;
    return false;
}

bool options_int(struct ctl *ctl, const char *what, const char *text, int64_t min, int64_t max,
                 int64_t *ret) {
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < min || value > max) {
        ctl_complain(ctl, "%s: no such number: \"%s\"", what, text);
        return false;
    }
    *ret = value;
    return true;
}

bool options_bytes(struct ctl *ctl, const char *what, const char *text, uint64_t *ret) {
    static const char units[] = "KMGT";
    unsigned long long value;
    const char *unit;
    char *end;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || end == text || *text == '-')
        goto wrong;
    if (*end) {
        unit = strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end);
        if (!unit || end[1])
            goto wrong;
        for (const char *u = units; u <= unit; u++)
            if (__builtin_mul_overflow(value, 1024ull, &value))
                goto wrong;
    }
    if (value > INT64_MAX)
        goto wrong;
    *ret = value;
    return true;
wrong:
    ctl_complain(ctl, "%s: no such size: \"%s\"", what, text);
    return false;
}

static bool read_number(const char *text, double *ret) {
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || !isfinite(value) || value < 0)
        return false;
    *ret = value;
    return true;
}

bool options_seconds(struct ctl *ctl, const char *what, const char *text, double *ret) {
    if (read_number(text, ret))
        return true;
    ctl_complain(ctl, "%s: no number of seconds: \"%s\"", what, text);
    return false;
}

bool options_number(struct ctl *ctl, const char *what, const char *text, double *ret) {
    if (read_number(text, ret))
        return true;
    ctl_complain(ctl, "%s: no such number: \"%s\"", what, text);
    return false;
}

bool options_mode(struct ctl *ctl, const char *text, int64_t *ret) {
    size_t len = strlen(text);

    if (len == 0 || len > 5 || strspn(text, "01234567") != len || strtol(text, NULL, 8) > 07777) {
        ctl_complain(ctl, "mode: not octal: \"%s\"", text);
        return false;
    }
    *ret = strtol(text, NULL, 8);
    return true;
}
