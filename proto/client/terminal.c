#include "proto/client/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "proto/client/guestproto.h"

/* What handlers may reach. tcsetattr(3), tcgetpgrp(3) and sigaction(2) are safe in them. */
static struct guestproto *client;
static struct termios cooked, raw;
static volatile sig_atomic_t is_raw;
static volatile sig_atomic_t asked_to_end;

bool terminal_size(unsigned *ret_rows, unsigned *ret_cols) {
    struct winsize size;

    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
            *ret_rows = size.ws_row;
            *ret_cols = size.ws_col;
            return true;
        }
    }
    return false;
}

static void send_size(void) {
    unsigned rows, cols;

    if (terminal_size(&rows, &cols))
        guestproto_set_size(client, rows, cols);
}

static void on_size(int signal) {
    int saved = errno;

    send_size();
    errno = saved;
}

void terminal_follow_size(struct guestproto *whose) {
    struct sigaction action = {.sa_handler = on_size, .sa_flags = SA_RESTART};

    client = whose;
    sigaction(SIGWINCH, &action, NULL);
    send_size();
}

bool terminal_is_raw(void) {
    return is_raw;
}

void terminal_restore(void) {
    if (is_raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &cooked);
    is_raw = 0;
}

/* Ends as if there were no handler: the signal waits until the handler returns. */
static void end_by(int number) {
    struct sigaction action = {.sa_handler = SIG_DFL};

    terminal_restore();
    sigaction(number, &action, NULL);
    raise(number);
}

static void on_end(int number) {
    int saved = errno;

    if (number == SIGQUIT || asked_to_end)
        end_by(number);
    asked_to_end = 1;
    guestproto_cancel(client);
    errno = saved;
}

/* Stopped: the terminal is the shell's. */
static void on_stop(int number) {
    int saved = errno;
    bool was_raw = is_raw;
    sigset_t set;

    terminal_restore();
    is_raw = was_raw;
    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    signal(SIGTSTP, SIG_DFL);
    raise(SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &set, NULL); /* here it stands still, until SIGCONT */
    signal(SIGTSTP, on_stop);
    errno = saved;
}

/* Also after a SIGSTOP, which nobody sees come. In the background the terminal isn't ours yet. */
static void on_continue(int number) {
    int saved = errno;

    if (is_raw && tcgetpgrp(STDIN_FILENO) == getpgrp())
        tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    send_size();
    errno = saved;
}

static void on_crash(int number) {
    end_by(number);
}

static void handle(int number, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

    sigaction(number, &action, NULL);
}

bool terminal_raw(struct guestproto *whose) {
    static const int ends[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT};
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGXCPU};

    client = whose;
    if (tcgetattr(STDIN_FILENO, &cooked) < 0)
        return false;
    raw = cooked;
    cfmakeraw(&raw);
    /* The handlers first: from the next line on there is something to give back. */
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        handle(ends[i], on_end, 0);
    for (size_t i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++)
        handle(crashes[i], on_crash, (int)SA_RESETHAND);
    handle(SIGTSTP, on_stop, 0);
    handle(SIGCONT, on_continue, SA_RESTART);
    atexit(terminal_restore);
    is_raw = 1;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) < 0) {
        is_raw = 0;
        return false;
    }
    return true;
}
