/*
 * The benchmark: every row of the README's table, our figure and the limit's (a bare C loop that
 * does the same work) measured in turn, in one run, so that a noisy machine is noisy for both.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ── clock and statistics (util.c) ── */
double now_us(void);
double median(double *values, unsigned n); /* sorts */
_Noreturn void die(const char *what);
/* One row: `value` is held against `bound`; `at_most` says from which side. */
void row(const char *name, double value, const char *unit, bool at_most, double bound,
         const char *detail, ...) __attribute__((format(printf, 6, 7)));
unsigned rows_missed(void);
void write_all(int fd, const void *data, size_t len);
void read_all(int fd, void *data, size_t len);

/* ── guestd and its client (client.c) ── */
struct guestd {
    pid_t supervisor, agent;
    char dir[64], socket[96];
    double answered_us; /* from fork to the first answer */
};
void guestd_start(struct guestd *guestd, const char *binary);
void guestd_stop(struct guestd *guestd);

struct client {
    int fd;
    uint8_t *in;
    size_t at, len, cap;
    uint32_t msgid;
};
void client_open(struct client *client, const struct guestd *guestd);
void client_close(struct client *client);
/* Sends a request whose params are packed already; returns its msgid. */
uint32_t client_request(struct client *client, const char *method, const void *params, size_t len);
void client_notify(struct client *client, const char *method, const void *head, size_t head_len,
                   const void *data, size_t data_len);
/* The next frame's body, valid until the next call. */
const uint8_t *client_frame(struct client *client, size_t *ret_len);
/* Reads frames until the response to msgid; dies when it is an error. */
void client_await(struct client *client, uint32_t msgid);

/* ── rows ── */
void bench_exec(const struct guestd *guestd);
void bench_stream(const struct guestd *guestd, const char *self);
void bench_stall(const struct guestd *guestd, const char *self);
void bench_list(const struct guestd *guestd); /* leaves its processes running */
void bench_upload(const struct guestd *guestd);
void bench_remove(const struct guestd *guestd);
void bench_idle(const char *binary);
/* `bench produce N`: writes N bytes to stdout */
int produce(uint64_t bytes);

uint64_t process_rss_kb(pid_t pid);
