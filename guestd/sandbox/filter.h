/*
 * The agent's own system call filter: what a bug in a parser could make it call.
 *
 * An allow-list of what an event loop, a thread pool, memory, sockets that are already there and
 * file work need. Everything else answers ENOSYS, so that libraries fall back; what would start a
 * program, trace another one or change the machine (execve, ptrace, bpf, mount, reboot, …) kills
 * the process. Threads can be made, processes can't. Memory never becomes executable. It does not
 * say what root may write: no seccomp filter can.
 *
 * GUESTD_SECCOMP_LOG=1 in the environment is for development: every call that is not listed also
 * leaves a line with its number on stderr, and still answers ENOSYS. Sanitizers and valgrind need
 * calls that the agent doesn't: for those the caller of filter_agent_load honours
 * GUESTD_NO_SECCOMP=1, this file doesn't.
 *
 * Made for 64-bit machines. tcp: host names must be numbers or in /etc/hosts: asking a name server
 * is not listed, nor is what glibc loads for it.
 */
#pragma once

/*
 * Puts the filter on the calling thread and on whatever threads it makes: call it before the first
 * one, after privilege_drop (capset is not listed). Sets no_new_privs.
 *
 * Returns 0 or -errno (-EINVAL: a kernel without seccomp filters). The process goes on unfiltered
 * after a failure.
 */
int filter_agent_load(void);
