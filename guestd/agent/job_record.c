/* What clients are told of a job: its record, and the result of one that exited. PROTOCOL.md,
 * "Processes". */
#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "agent/agent.h"
#include "agent/call.h"
#include "agent/job_table.h"
#include "proto/message.h"

#define RESULT_PAIRS 18 /* without stdout, stderr and encoding */
#define RECORD_PAIRS 10 /* while it runs */
#define END_PAIRS 16    /* what both have more once it has exited: the result without pid and tag */
#define AT_ONCE (64u << 10) /* bytes of output; a result with more is packed in its turn */
#define RESULT_ROOM 1024    /* bytes of a response around its output, at most: 21 keys, a tag */

static const char *reason_name(uint32_t reason) {
    static const char *const names[] = {
        [LINK_REASON_EXITED] = "exited",
        [LINK_REASON_SIGNALED] = "signaled",
        [LINK_REASON_TIMED_OUT] = "timed_out",
        [LINK_REASON_KILLED] = "killed",
        [LINK_REASON_CANCELLED] = "cancelled",
        [LINK_REASON_OOM_KILLED] = "oom_killed",
        [LINK_REASON_OUTPUT_LIMIT] = "output_limit",
        [LINK_REASON_LOST] = "lost",
    };

    return names[reason <= LINK_REASON_LOST ? reason : (uint32_t)LINK_REASON_LOST];
}

static int exit_code(const struct link_result *result) {
    switch (result->reason) {
    case LINK_REASON_TIMED_OUT:
        return 124;
    case LINK_REASON_CANCELLED:
    case LINK_REASON_OUTPUT_LIMIT:
    case LINK_REASON_OOM_KILLED:
        return 137;
    case LINK_REASON_LOST:
        return -1;
    default:
        return WIFSIGNALED(result->wait_status) ? 128 + WTERMSIG(result->wait_status)
                                                : WEXITSTATUS(result->wait_status);
    }
}

/* Bytes of a stream that were written and are not kept: at its end (head) or at its start (ring).
 */
static bool cut(const struct job *job, unsigned c) {
    uint64_t end = job_end(job, c);

    if (!job->view.base)
        return job->unmapped || end > 0;
    return end > job->facts->max_output || end > view_size(&job->view, c);
}

/* A streamed one lost only what its opener was told of by gaps, if it was told of anything. */
static bool lacks(const struct job *job, bool output) {
    if ((job->facts->flags & FACTS_STREAM) && !output)
        return job->gapped || job->unmapped;
    return cut(job, 0) || cut(job, 1);
}

/* END_PAIRS of them. */
static void pack_end(const struct job *job, msgpack_packer *pk, bool truncated) {
    const struct link_result *result = &job->result;
    bool known = result->reason != LINK_REASON_LOST;
    bool signaled = known && WIFSIGNALED(result->wait_status);

    pack_kv_int(pk, "exit_code", exit_code(result));
    pack_kv_text(pk, "reason", reason_name(result->reason));
    if (known && WIFEXITED(result->wait_status))
        pack_kv_int(pk, "status", WEXITSTATUS(result->wait_status));
    else
        pack_kv_nil(pk, "status");
    pack_kv_text(pk, "signal", signaled ? signame_of(WTERMSIG(result->wait_status)) : NULL);
    pack_kv_bool(pk, "core_dumped", signaled && WCOREDUMP(result->wait_status));
    pack_kv_uint(pk, "duration_ms", result->duration_ms);
    pack_kv_uint(pk, "stdout_bytes", job_end(job, 0));
    pack_kv_uint(pk, "stderr_bytes", job_end(job, 1));
    pack_kv_bool(pk, "truncated", truncated);
    pack_kv_bool(pk, "pipes_open", result->pipes_open);
    pack_kv_uint(pk, "descendants", result->descendants);
    pack_kv_uint(pk, "killed_descendants", result->killed_descendants);
    pack_kv_uint(pk, "cpu_user_ms", result->cpu_user_ms);
    pack_kv_uint(pk, "cpu_sys_ms", result->cpu_sys_ms);
    pack_kv_uint(pk, "max_rss_kb", result->max_rss_kb);
    if (result->oom_killed < 0)
        pack_kv_nil(pk, "oom_killed");
    else
        pack_kv_bool(pk, "oom_killed", result->oom_killed);
}

/* ── the record ── */

static uint32_t record_pairs(const struct job *job) {
    return job_exited(job) ? RECORD_PAIRS + 1 + END_PAIRS : RECORD_PAIRS;
}

static void pack_record(const struct job *job, msgpack_packer *pk) {
    const struct facts *facts = job->facts;

    pack_kv_int(pk, "pid", job->pid);
    pack_kv_text(pk, "tag", facts->tag);
    pack_kv_name(pk, "cmd", facts->cmd);
    pack_text(pk, "args");
    msgpack_pack_array(pk, facts->args.n);
    for (size_t i = 0; i < facts->args.n; i++)
        pack_name(pk, facts->args.v[i]);
    pack_kv_name(pk, "cwd", facts->cwd);
    pack_kv_name(pk, "user", facts->user);
    pack_kv_bool(pk, "background", facts->flags & FACTS_BACKGROUND);
    pack_kv_bool(pk, "pty", facts->flags & FACTS_PTY);
    pack_kv_text(pk, "state", job_exited(job) ? "exited" : "running");
    pack_kv_double(pk, "started_at", job->started_at);
    if (job_exited(job)) {
        pack_kv_double(pk, "exited_at", job->result.exited_at);
        pack_end(job, pk, lacks(job, false));
    }
}

void job_pack_record(const struct job *job, msgpack_packer *pk) {
    msgpack_pack_map(pk, record_pairs(job));
    pack_record(job, pk);
}

void job_reply_record(const struct job *job, struct call *call) {
    pack_record(job, call_reply_begin(call, record_pairs(job)));
    call_reply_end(call);
}

/* ── the result ── */

struct output {
    struct captured stream[2];
    uint8_t *copy[2]; /* owned, where the store may still change or wraps around */
};

static void output_deinit(struct output *output) {
    free(output->copy[0]);
    free(output->copy[1]);
}

/* A head never changes below its end: it is told right from the mapping. */
static void read_head(const struct job *job, unsigned c, struct captured *ret) {
    uint64_t end = view_end(&job->view, c), kept = job->facts->max_output;
    struct slice bytes;

    if (kept > view_size(&job->view, c))
        kept = view_size(&job->view, c);
    bytes = view_peek(&job->view, c, 0, end < kept ? end : kept);
    *ret = (struct captured){.data = bytes.data, .len = bytes.len, .cut_after = end > kept};
}

/* A ring may be overwritten while it is read, and its last bytes may go around. */
static int read_ring(const struct job *job, unsigned c, struct captured *ret, uint8_t **ret_copy) {
    uint64_t end = view_end(&job->view, c), from = view_oldest(&job->view, c), holds;
    struct slice bytes;

    if (from > end) /* overwritten since `end` was read */
        from = end;
    if (end - from > job->facts->max_output)
        from = end - job->facts->max_output;
    bytes = view_peek(&job->view, c, from, end);
    if (!view_eof(&job->view, c) || bytes.len < end - from) {
        uint8_t *copy = malloc((size_t)(end - from) + 1);

        if (!copy)
            return -ENOMEM;
        holds = view_copy(&job->view, c, from, copy, (size_t)(end - from));
        *ret_copy = copy;
        bytes = (struct slice){copy + (holds - from), (size_t)(end - holds)};
        from = holds;
    }
    *ret = (struct captured){.data = bytes.data, .len = bytes.len, .cut_before = from > 0};
    return 0;
}

static int output_read(const struct job *job, struct output *ret) {
    int r = 0;

    *ret = (struct output){0};
    for (unsigned c = 0; job->view.base && c < 2 && r == 0; c++) {
        if (view_keeps_head(&job->view, c))
            read_head(job, c, &ret->stream[c]);
        else
            r = read_ring(job, c, &ret->stream[c], &ret->copy[c]);
    }
    return r;
}

static struct slice bytes_of(const struct output *output, unsigned c) {
    return (struct slice){output->stream[c].data, output->stream[c].len};
}

static void pack_result(const struct job *job, msgpack_packer *pk, bool truncated) {
    pack_kv_int(pk, "pid", job->pid);
    pack_kv_text(pk, "tag", job->facts->tag);
    pack_end(job, pk, truncated);
}

static void reply_with_output(struct job *job, struct call *call, enum encoding wanted) {
    struct output output;
    enum encoding encoding = wanted;
    uint64_t bytes, most = call_answer_max(call);
    msgpack_packer *pk;

    if (output_read(job, &output) < 0 || job->unmapped) {
        output_deinit(&output);
        call_fail(call, STATUS_LIMIT_EXCEEDED, ENOMEM, "output", "no memory for the output");
        return;
    }
    bytes = bytes_of(&output, 0).len + bytes_of(&output, 1).len;
    if (bytes <= most) { /* else it is not worth a look */
        encoding = encoding_decide(wanted, output.stream);
        bytes = encoding_size(encoding, bytes_of(&output, 0)) +
                encoding_size(encoding, bytes_of(&output, 1));
    }
    if (bytes + RESULT_ROOM > most) {
        call_fail(call, STATUS_TOO_LARGE, 0, "output",
                  "%llu bytes of output are over the client's max_frame, or queue_total",
                  (unsigned long long)bytes);
    } else {
        pk = call_reply_begin(call, RESULT_PAIRS + 3);
        pack_text(pk, "stdout");
        encoding_pack(pk, encoding, bytes_of(&output, 0));
        pack_text(pk, "stderr");
        encoding_pack(pk, encoding, bytes_of(&output, 1));
        pack_kv_text(pk, "encoding", encoding_names[encoding]);
        pack_result(job, pk, lacks(job, true));
        call_reply_end(call);
    }
    output_deinit(&output);
    view_rest(&job->view);
}

/* In the call's arena, until it is its turn. */
struct result {
    struct job *job; /* counted */
    enum encoding encoding;
};

static void drop_result(struct call *call, void *arg) {
    job_unref(((struct result *)arg)->job);
}

static void reply_result(struct call *call, void *arg) {
    const struct result *result = arg;

    reply_with_output(result->job, call, result->encoding);
    job_unref(result->job);
}

/* Any number may wait for one exit: what they are all told must not be in memory at once. */
static void reply_later(struct job *job, struct call *call, enum encoding encoding, uint64_t kept) {
    struct result *result = arena_alloc(call_arena(call), sizeof(*result));

    if (!result) {
        call_fail(call, STATUS_INTERNAL, ENOMEM, NULL, "no memory for the result");
        return;
    }
    *result = (struct result){job_ref(job), encoding};
    call_reply_later(call, (size_t)kept, reply_result, drop_result, result);
}

void job_reply_result(struct job *job, struct call *call, bool output, enum encoding encoding) {
    uint64_t kept = 0;

    if (call_answered(call)) /* not worth packing */
        return;
    if (!output) {
        pack_result(job, call_reply_begin(call, RESULT_PAIRS), lacks(job, false));
        call_reply_end(call);
        return;
    }
    for (unsigned c = 0; c < 2; c++) {
        uint64_t end = view_end(&job->view, c), size = view_size(&job->view, c);

        kept += end < size ? end : size;
    }
    if (kept > AT_ONCE || call_full(call))
        reply_later(job, call, encoding, kept);
    else
        reply_with_output(job, call, encoding);
}

void job_reply_streamed(struct job *job, struct call *call, bool gapped) {
    if (call_answered(call))
        return;
    pack_result(job, call_reply_begin(call, RESULT_PAIRS), gapped || job->unmapped);
    call_reply_end(call);
}

uint64_t job_output_fits(struct call *call, enum encoding encoding) {
    uint64_t room = call_answer_max(call);

    if (room <= RESULT_ROOM)
        return 0;
    return encoding_fits(encoding, (room - RESULT_ROOM) / 2);
}
