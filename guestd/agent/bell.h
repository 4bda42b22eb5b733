/*
 * The doorbell of a job's output: one for all who read it. The supervisor keeps one LINK_LOOK a
 * job, so what its readers want to say is brought together here: what the opener has taken, and
 * how far all have looked who wait for more.
 *
 * Who finds nothing more to read asks for the bell; once it is armed, the others need not: it rings
 * as soon as there is more than the first of them saw, and then everybody looks again. Embedded in
 * the job.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct job;

struct bell {
    bool armed; /* asked for, and has not rung */
    uint64_t acked[2];
    uint64_t seen[2]; /* what it is armed with, as is … */
    bool eof_seen[2];
};

/* Rings when a channel passes seen[c], or reaches its end where eof_seen[c] is false. */
void bell_arm(struct job *job, const uint64_t seen[2], const bool eof_seen[2]);

/* What lies below acked[c] may be overwritten. Only for the opener; offsets never go back. */
void bell_acknowledge(struct job *job, const uint64_t acked[2]);

/* Both in one message. */
void bell_arm_and_acknowledge(struct job *job, const uint64_t seen[2], const bool eof_seen[2],
                              const uint64_t acked[2]);

/* LINK_OUTPUT came: who still waits arms it again. */
void bell_rang(struct job *job);
