#include "supervisor/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "supervisor/note.h"

/* PROC_PID_INIT_INO of the kernel: the initial pid namespace has had this number since 3.8. */
#define INITIAL_PID_NAMESPACE 0xEFFFFFFCu
#define DEFAULT_NAME "capsule"
#define USUAL_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static void complain(const char *what, const char *where) {
    note("boot: %s %s: %s", what, where, strerror(errno));
}

/* ── file systems ── */

struct mounted {
    const char *type, *point, *data;
    unsigned long flags;
};

static const struct mounted PROC = {"proc", "/proc", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV};

static const struct mounted REST[] = {
    {"sysfs", "/sys", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV},
    {"devtmpfs", "/dev", "mode=0755", MS_NOSUID},
    {"devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC},
    {"tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV},
    {"tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV},
    {"tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV},
    {"cgroup2", "/sys/fs/cgroup", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV},
};

/* A mount point is on another device than the directory it is in. */
static bool is_mounted(const char *point) {
    char parent[64];
    struct stat inside, above;
    snprintf(parent, sizeof parent, "%s/..", point);
    return stat(point, &inside) == 0 && stat(parent, &above) == 0 && inside.st_dev != above.st_dev;
}

static void provide(const struct mounted *mounted) {
    if (is_mounted(mounted->point))
        return;
    if (mkdir(mounted->point, 0755) < 0 && errno != EEXIST)
        complain("mkdir", mounted->point);
    if (mount(mounted->type, mounted->point, mounted->type, mounted->flags, mounted->data) < 0)
        complain("mount", mounted->point);
}

/* Names in /dev that shells expect, and that devtmpfs doesn't make. */
static void link_dev(void) {
    static const char *const links[][2] = {
        {"/proc/self/fd", "/dev/fd"},
        {"/proc/self/fd/0", "/dev/stdin"},
        {"/proc/self/fd/1", "/dev/stdout"},
        {"/proc/self/fd/2", "/dev/stderr"},
    };
    for (unsigned i = 0; i < sizeof links / sizeof *links; i++) {
        if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
            complain("symlink", links[i][1]);
    }
}

/* The kernel couldn't open the console for an init whose /dev was empty. */
static void open_console(void) {
    if (isatty(STDERR_FILENO))
        return;
    int fd = open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return; /* a machine without one */
    for (int i = 0; i < 3; i++)
        dup2(fd, i);
    close(fd);
}

bool boot_is_init(void) {
    struct stat stat_of_namespace;
    return getpid() == 1 && stat("/proc/self/ns/pid", &stat_of_namespace) == 0 &&
           stat_of_namespace.st_ino == INITIAL_PID_NAMESPACE;
}

void boot_proc(void) {
    if (access("/proc/self", F_OK) < 0)
        provide(&PROC);
}

void boot_machine(void) {
    for (unsigned i = 0; i < sizeof REST / sizeof *REST; i++)
        provide(&REST[i]);
    link_dev();
    open_console();
    reboot(RB_DISABLE_CAD); /* ctrl-alt-del becomes SIGINT: an orderly end */
}

/* ── names ── */

void boot_network(void) {
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return; /* a kernel without IP */
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) == 0) {
        request.ifr_flags |= IFF_UP;
        if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
            complain("raise", "lo");
    }
    close(fd);
}

/* The first word of /etc/hostname. False: there is none. */
static bool read_name(char name[64]) {
    FILE *file = fopen("/etc/hostname", "re");
    bool found = file != NULL && fscanf(file, " %63[^ \t\n#]", name) == 1;
    if (file != NULL)
        fclose(file);
    return found;
}

static bool has_word(const char *line, const char *word) {
    size_t len = strlen(word);
    for (const char *at = line; (at = strstr(at, word)) != NULL; at += len) {
        bool starts = at > line && (at[-1] == ' ' || at[-1] == '\t');
        if (starts && strchr(" \t\n", at[len]) != NULL)
            return true;
    }
    return false;
}

/* Programs look their own host's name up: it must lead somewhere. */
static void add_to_hosts(const char *name) {
    char line[512];
    bool there = false, localhost = false;
    FILE *file = fopen("/etc/hosts", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        there |= line[0] != '#' && has_word(line, name);
        localhost |= line[0] != '#' && has_word(line, "localhost");
    }
    if (file != NULL)
        fclose(file);
    if (there)
        return;
    file = fopen("/etc/hosts", "ae");
    if (file == NULL) {
        complain("write", "/etc/hosts");
        return;
    }
    if (!localhost)
        fprintf(file, "127.0.0.1 localhost\n::1 localhost\n");
    fprintf(file, "127.0.1.1 %s\n", name);
    if (fclose(file) != 0)
        complain("write", "/etc/hosts");
}

void boot_names(const char *hostname) {
    setenv("PATH", USUAL_PATH, 0);
    char name[64] = DEFAULT_NAME;
    if (hostname != NULL)
        snprintf(name, sizeof name, "%s", hostname);
    else if (!read_name(name))
        strcpy(name, DEFAULT_NAME);
    if (sethostname(name, strlen(name)) < 0)
        complain("name", name);
    add_to_hosts(name);
}
