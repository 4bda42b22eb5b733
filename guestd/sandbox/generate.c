/* Build-time tool: `generate agent|default` writes that filter of rules.h to stdout, as a C array
 * of BPF instructions. */
#include <errno.h>
#include <linux/filter.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rules.h"

/* libseccomp writes a program to a file only. */
static int print_program(const char *name, scmp_filter_ctx ctx) {
    struct sock_filter op;
    int r, fd = memfd_create(name, MFD_CLOEXEC);

    if (fd < 0)
        return -errno;
    r = seccomp_export_bpf(ctx, fd);
    lseek(fd, 0, SEEK_SET);
    printf("/* Generated from rules_*.c by generate.c. */\n#define PROGRAM_OWN_PID 0x%x\n"
           "#define PROGRAM_OTHERWISE 0x%x\n",
           OWN_PID, OTHERWISE);
    printf("static const struct sock_filter %s[] = {\n", name);
    while (r == 0 && read(fd, &op, sizeof(op)) == sizeof(op))
        printf("    {0x%02x, %u, %u, 0x%08x},\n", op.code, op.jt, op.jf, op.k);
    printf("};\n");
    close(fd);
    return r;
}

int main(int argc, char **argv) {
    bool agent = argc == 2 && strcmp(argv[1], "agent") == 0;
    scmp_filter_ctx ctx = seccomp_init(agent ? OTHERWISE : SCMP_ACT_ALLOW);
    int r;

    /* The target's kernel counts, not this one's. Kernels before 4.14 read KILL_PROCESS as
     * KILL_THREAD. */
    seccomp_api_set(3);
    if (!ctx)
        return 1;
    r = agent ? rules_agent(ctx) : rules_default(ctx);
    /* A binary tree: a call that depends on its arguments is found in 8 steps, not 200. */
    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (r == 0)
        r = print_program(agent ? "program_agent" : "program_default", ctx);
    if (r < 0)
        fprintf(stderr, "generate: %s\n", strerror(-r));
    seccomp_release(ctx);
    return r < 0;
}
