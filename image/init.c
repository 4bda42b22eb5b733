/*
 * The first program in the machine: /init of the initramfs. Loads the modules named in
 * /modules/list, mounts /dev/vda and becomes its /sbin/init; or that of the initramfs, if there is
 * one in it: that is a template's own root then. All else (/proc, /dev, the console) is guestd's
 * duty, so that booting tests it.
 *
 * What follows ` -- ` on the kernel's command line arrives here as arguments, behind the words that
 * the kernel doesn't know, and becomes guestd's PROGRAM: it tells the two apart. The one word
 * `probe` ends the machine instead: boot.py learns that way whether a hypervisor works.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROOT_DEVICE "/dev/vda"
#define ROOT_WAIT_MS 10000

/* The kernel panics when this program ends, and with panic=-1 the machine ends too. */
static void fail(const char *what) {
    dprintf(STDERR_FILENO, "init: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void load_modules(void) {
    char name[256];
    FILE *list = fopen("/modules/list", "re");

    if (!list || chdir("/modules") < 0)
        fail("/modules/list");
    while (fgets(name, sizeof(name), list)) {
        name[strcspn(name, "\n")] = '\0';
        int fd = open(name, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
            fail(name);
        close(fd);
        unlink(name); /* the initramfs stays in memory */
    }
    fclose(list);
}

/* The driver finds the disk some time after it was loaded. */
static void mount_root(void) {
    struct timespec pause = {.tv_nsec = 1000000};

    for (int ms = 0; mount(ROOT_DEVICE, "/root", "ext4", 0, NULL) < 0; ms++) {
        if ((errno != ENOENT && errno != ENXIO) || ms == ROOT_WAIT_MS)
            fail(ROOT_DEVICE);
        nanosleep(&pause, NULL);
    }
}

/* The disk's root in the place of the initramfs. */
static void change_root(void) {
    mount_root();
    umount2("/dev", MNT_DETACH);
    if (chdir("/root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
        chdir("/") < 0)
        fail("changing root");
}

/* Nothing but the template is left. */
static void keep_root(void) {
    umount2("/dev", MNT_DETACH);
    unlink("/modules/list");
    rmdir("/modules");
    unlink("/init");
    if (chdir("/") < 0)
        fail("/");
}

/* In one go: executing it would fetch it from the disk page by page, as each is touched. */
static void read_ahead(const char *path) {
    struct stat found;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return; /* exec says why */
    if (fstat(fd, &found) == 0)
        readahead(fd, 0, (size_t)found.st_size);
    close(fd);
}

/* For image/microvm/phases.py. The console takes its time: the clock is read behind most of that.
 */
static void stamp(void) {
    struct timespec now;

    dprintf(STDOUT_FILENO, "init: executing /sbin/init at ");
    clock_gettime(CLOCK_BOOTTIME, &now);
    dprintf(STDOUT_FILENO, "%lld us\n", (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

static void become_init(int argc, char **argv) {
    char *args[argc + 2]; /* the program, "--", the rest, NULL */

    args[0] = "/sbin/init";
    args[1] = argc > 1 ? "--" : NULL;
    for (int i = 1; i <= argc; i++)
        args[i + 1] = argv[i];
    read_ahead(args[0]);
    stamp();
    execv(args[0], args);
    fail(args[0]);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "probe") == 0) {
        dprintf(STDOUT_FILENO, "init: the machine works\n");
        reboot(RB_AUTOBOOT);
    }
    mkdir("/dev", 0755);
    mkdir("/root", 0755);
    if (mount("dev", "/dev", "devtmpfs", 0, NULL) < 0)
        fail("/dev");
    load_modules();
    if (access("/sbin/init", X_OK) == 0)
        keep_root();
    else
        change_root();
    become_init(argc, argv);
}
