/*
 * Named system call filters for the programs that `exec` starts (its `seccomp` field).
 *
 *   none      no filter
 *   default   what container runtimes refuse by default: mounts, namespaces, modules, kexec, bpf,
 * keys, perf, clocks, reboot, raw I/O ports … answer EPERM; clone3, whose flags a filter can't see,
 * answers ENOSYS, so that libc falls back to clone. bash, python and git run as they do without it.
 *
 * A profile is a classic BPF program, to be loaded by the child itself just before exec, after
 * no_new_privs or with CAP_SYS_ADMIN (seccomp(2), SECCOMP_SET_MODE_FILTER).
 */
#pragma once

#include <linux/filter.h>
#include <stddef.h>

/* All names, in the order in which `hello` lists them. Returns how many; the array is static and
 * ends with NULL. */
int profile_names(const char *const **ret);

/*
 * A copy of a profile's program, made at build time. The caller frees *ret; it is NULL, and *ret_n
 * 0, for a profile that filters nothing.
 *
 * Returns 0, -ENOENT (no profile of that name) or -ENOMEM; the outputs are untouched on failure.
 */
int profile_compile(const char *name, struct sock_filter **ret, size_t *ret_n);
