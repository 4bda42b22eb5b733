#include "supervisor/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "link.h"
#include "supervisor/birth.h"

#define MASTER "/dev/ptmx"
/* The user's programs write and read it, mesg(1) lets others of the devpts' group write. */
#define SLAVE_MODE 0620

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

/* By the master itself where the kernel can (4.13): no path leads to another devpts by mistake. */
static int open_slave(int master) {
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave >= 0 || (errno != EINVAL && errno != ENOTTY && errno != ENOSYS))
        return slave >= 0 ? slave : -errno;
    unsigned number;
    char path[32];
    if (ioctl(master, TIOCGPTN, &number) < 0)
        return -errno;
    snprintf(path, sizeof path, "/dev/pts/%u", number);
    slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    return slave >= 0 ? slave : -errno;
}

/* The kernel's usual modes, and that a backspace in a line takes a whole character of UTF-8. */
static int set_modes(int slave) {
    struct termios modes;
    if (tcgetattr(slave, &modes) < 0)
        return -errno;
    modes.c_iflag |= IUTF8;
    return tcsetattr(slave, TCSANOW, &modes) < 0 ? -errno : 0;
}

/* The group is the devpts' choice. */
static int give_away(int slave, uid_t owner) {
    struct stat st;
    if (fstat(slave, &st) < 0 || (st.st_uid != owner && fchown(slave, owner, (gid_t)-1) < 0))
        return -errno;
    return (st.st_mode & 07777) != SLAVE_MODE && fchmod(slave, SLAVE_MODE) < 0 ? -errno : 0;
}

int terminal_resize(int master, uint16_t rows, uint16_t cols) {
    struct winsize size = {.ws_row = rows, .ws_col = cols};
    return ioctl(master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

int terminal_open(struct birth *birth, int *ret_slave) {
    birth->stage = LINK_STAGE_PTY;
    int master = open(MASTER, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (master < 0)
        return -errno;
    birth->out[0] = master;
    birth->in = fcntl(master, F_DUPFD_CLOEXEC, 0);
    if (birth->in < 0)
        return -errno;
    if (ioctl(master, TIOCSPTLCK, &(int){0}) < 0)
        return -errno;
    int slave = open_slave(master);
    if (slave < 0)
        return slave;
    *ret_slave = slave;
    int err = set_modes(slave);
    if (err == 0)
        err = terminal_resize(master, birth->rows, birth->cols);
    if (err == 0) {
        uid_t owner = (birth->flags & LINK_SPAWN_SET_USER) != 0 ? birth->uid : geteuid();
        err = give_away(slave, owner);
        birth->stage = err < 0 ? LINK_STAGE_USER : LINK_STAGE_NONE;
    }
    return err;
}

/*
 * poll(2) waits for what is on its way to the master's buffer before it says that nothing is there;
 * ioctl(2) doesn't. What was written before the slave was closed shows only to a look that begins
 * after the close: it takes a second one to know.
 */
enum terminal_state terminal_look(int master) {
    struct pollfd look = {.fd = master, .events = POLLIN};
    for (int i = 0; i < 2; i++) {
        if (poll(&look, 1, 0) < 0 || look.revents == 0)
            return TERMINAL_QUIET;
        if ((look.revents & POLLIN) != 0)
            return TERMINAL_READABLE;
    }
    return TERMINAL_UNUSED;
}
