#include "agent/signame.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RT_FIRST 34 /* below it libcs keep theirs: 32 and 33, and 34 in musl's case */

/* By hand: sigabbrev_np is glibc's alone. */
static const struct {
    int number;
    const char *name;
} names[] = {
    {SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},       {SIGQUIT, "SIGQUIT"}, {SIGILL, "SIGILL"},
    {SIGTRAP, "SIGTRAP"}, {SIGABRT, "SIGABRT"},     {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
    {SIGKILL, "SIGKILL"}, {SIGUSR1, "SIGUSR1"},     {SIGSEGV, "SIGSEGV"}, {SIGUSR2, "SIGUSR2"},
    {SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"},     {SIGTERM, "SIGTERM"}, {SIGSTKFLT, "SIGSTKFLT"},
    {SIGCHLD, "SIGCHLD"}, {SIGCONT, "SIGCONT"},     {SIGSTOP, "SIGSTOP"}, {SIGTSTP, "SIGTSTP"},
    {SIGTTIN, "SIGTTIN"}, {SIGTTOU, "SIGTTOU"},     {SIGURG, "SIGURG"},   {SIGXCPU, "SIGXCPU"},
    {SIGXFSZ, "SIGXFSZ"}, {SIGVTALRM, "SIGVTALRM"}, {SIGPROF, "SIGPROF"}, {SIGWINCH, "SIGWINCH"},
    {SIGIO, "SIGIO"},     {SIGPWR, "SIGPWR"},       {SIGSYS, "SIGSYS"},   {SIGABRT, "SIGIOT"},
    {SIGIO, "SIGPOLL"},   {SIGCHLD, "SIGCLD"},
};

const char *signame_of(int number) {
    static char realtime[24];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].number == number)
            return names[i].name;
    if (number < 32 || number > 64)
        return NULL;
    /* the kernel's numbers from 34 on, whichever libc the program has */
    if (number < RT_FIRST)
        snprintf(realtime, sizeof(realtime), "SIG%d", number);
    else if (number == RT_FIRST)
        return "SIGRTMIN";
    else if (number == 64)
        return "SIGRTMAX";
    else
        snprintf(realtime, sizeof(realtime), "SIGRTMIN+%d", number - RT_FIRST);
    return realtime;
}

int signame_parse(const char *name) {
    char *rest;
    long offset;

    if (!strncmp(name, "SIG", 3))
        name += 3;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strcmp(names[i].name + 3, name))
            return names[i].number;
    if (!strcmp(name, "RTMIN"))
        return RT_FIRST;
    if (!strcmp(name, "RTMAX"))
        return 64;
    if (strncmp(name, "RTMIN+", 6) && strncmp(name, "RTMAX-", 6))
        return 0;
    if (name[6] < '0' || name[6] > '9')
        return 0;
    offset = strtol(name + 6, &rest, 10);
    if (*rest || offset > 64 - RT_FIRST)
        return 0;
    return name[5] == '+' ? RT_FIRST + (int)offset : 64 - (int)offset;
}
