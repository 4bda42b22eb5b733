/*
 * The rules behind the filters, in libseccomp's terms. They are compiled when guestd is: `generate`
 * turns each set into a BPF program in a header, so that a starting agent loads a ready one; making
 * it by libseccomp costs 1.5 ms a start.
 */
#pragma once

#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>

/* SCMP_SYS, but pasted before libc's macros (pread64 → pread) can rename its argument. */
#define CALL(name) __SNR_##name
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Stands for the pid of whoever loads the program: filter.c puts that in its place. No pid is so
 * high. */
#define OWN_PID UINT32_C(0x7e57ca5e)

/* Stands for the answer to what the agent's rules don't name: filter.c puts ENOSYS in its place, or
 * a trap. A call that shall never trap can still have a rule that says ENOSYS. */
#define OTHERWISE SCMP_ACT_ERRNO(0xfed)

/* Fill a new filter. Return 0 or -errno. */
int rules_agent(scmp_filter_ctx ctx);   /* on top of OTHERWISE */
int rules_default(scmp_filter_ctx ctx); /* on top of allow */
