/* The help pages, set from the commands' own tables. */
#include <stdio.h>
#include <string.h>

#include "proto/client/guestctl.h"

#define WIDTH 80
#define COLUMN 28

static const char *const group_titles[GROUP_COUNT] = {
    [GROUP_PROCESSES] = "Processes",
    [GROUP_FILES] = "Files",
    [GROUP_CAPSULE] = "The capsule",
};

/* Text in words, from `column` on, the following lines indented as deep as `indent`. */
static void print_wrapped(const char *text, size_t column, size_t indent) {
    while (*text) {
        size_t len = strcspn(text, " ");

        if (column > indent && column + 1 + len > WIDTH) {
            printf("\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int)len, text);
        column += len;
        text += len + strspn(text + len, " ");
    }
    putchar('\n');
}

static void print_option(const struct option_row *row) {
    size_t column = 0;

    if (row->later)
        return;
    if (row->key < 256 && row->name)
        column = (size_t)printf("  -%c, --%s", row->key, row->name);
    else if (row->key < 256)
        column = (size_t)printf("  -%c", row->key);
    else
        column = (size_t)printf("      --%s", row->name);
    if (row->argument)
        column += (size_t)printf(" %s", row->argument);
    if (column + 2 > COLUMN) {
        putchar('\n');
        column = 0;
    }
    printf("%*s", (int)(COLUMN - column), "");
    print_wrapped(row->text, COLUMN, COLUMN);
}

void help_print_command(const struct command *command) {
    printf("guestctl %s - %s\n\nUsage: guestctl [GLOBAL OPTIONS] %s %s\n", command->name,
           command->summary, command->name, command->usage);
    if (command->text)
        printf("\n%s\n", command->text);
    printf("\nOptions\n");
    for (const struct option_row *row = command->options; row && row->text; row++)
        print_option(row);
    print_option(&(struct option_row){'h', "help", NULL, "Print this page.", false});
    if (command->after)
        printf("\n%s\n", command->after);
}

void help_print(void) {
    printf(
        "guestctl - run programs and move files in a capsule, through its guestd\n\n"
        "Usage: guestctl [--connect ADDRESS] [--json] [--token-file FILE] COMMAND [ARGUMENT]...\n");
    for (int group = 0; group < GROUP_COUNT; group++) {
        printf("\n%s\n", group_titles[group]);
        for (const struct command *const *command = commands; *command; command++)
            if ((int)(*command)->group == group)
                printf("  %-12s%s\n", (*command)->name, (*command)->summary);
    }
    printf("\nGlobal options, before the command\n"
           "  -c, --connect ADDRESS     Where guestd listens; GUESTCTL_CONNECT is the default:\n"
           "                            vsock:CID:PORT, unix:/path, tcp:HOST:PORT, fd:N, or\n"
           "                            firecracker:/uds:PORT.\n"
           "  -j, --json                Print results as JSON, bytes as base64. Errors too:\n"
           "                            {\"error\": {\"code\", \"message\", ...}}.\n"
           "      --token-file FILE     Prove oneself with the token in this file.\n"
           "      --reconnect SECONDS   How long to look for a lost connection, to go on where it\n"
           "                            was; otherwise 10, 0 never.\n"
           "      --version             Print the version.\n"
           "  -h, --help                Print this page.\n"
           "\nExit status\n"
           "  0 done; 1 the guest answered an error; 124 timed out; 125 guestctl's own failure.\n"
           "  exec, attach and wait end as the program did.\n"
           "\n`guestctl help COMMAND` tells more; guestctl(1) tells all.\n");
}
