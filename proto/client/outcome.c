#include "proto/client/outcome.h"

#include <stdio.h>
#include <unistd.h>

#include "proto/client/fd.h"
#include "proto/client/human.h"

int outcome_exit_code(const msgpack_object *record) {
    int64_t code;

    if (!guestproto_get_int(record, "exit_code", &code) || code < 0 || code > 255)
        return EXIT_OWN;
    return (int)code;
}

static void remark_reason(const struct ctl *ctl, const msgpack_object *record) {
    static const struct {
        const char *reason, *text;
    } remarks[] = {
        {"timed_out", "timed out after"},
        {"oom_killed", "killed for want of memory after"},
        {"output_limit", "killed for its output after"},
        {"cancelled", "cancelled after"},
        {"killed", "killed by request after"},
        {"lost", "its end was not seen, after"},
    };
    char text[HUMAN_TEXT];
    double ms;

    if (!guestproto_get_number(record, "duration_ms", &ms) || ms < 0)
        ms = 0;
    for (size_t i = 0; i < sizeof(remarks) / sizeof(remarks[0]); i++)
        if (guestproto_get_is(record, "reason", remarks[i].reason))
            ctl_complain(ctl, "%s %s", remarks[i].text, human_duration(ms / 1000, text));
}

void outcome_remark(const struct ctl *ctl, const msgpack_object *record) {
    bool truncated = false;
    uint64_t left;

    remark_reason(ctl, record);
    /* Live output told its gaps when they came. */
    if (guestproto_get(record, "encoding") &&
        guestproto_get_bool(record, "truncated", &truncated) && truncated)
        ctl_complain(ctl, "the output was larger than what was kept of it");
    if (guestproto_get_uint(record, "killed_descendants", &left) && left > 0)
        ctl_complain(ctl, "%llu of its descendants were killed", (unsigned long long)left);
}

int outcome_output(const msgpack_object *record) {
    struct guestproto_bytes text;
    int r = 0;

    if (guestproto_get_bytes(record, "stdout", &text))
        r = fd_write_all(STDOUT_FILENO, text.data, text.len);
    if (r == 0 && guestproto_get_bytes(record, "stderr", &text))
        r = fd_write_all(STDERR_FILENO, text.data, text.len);
    return r;
}
