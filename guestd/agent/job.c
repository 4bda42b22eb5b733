#include "agent/job.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/call.h"
#include "agent/job_table.h"
#include "agent/link.h"

static int compare_numbers(uint64_t a, uint64_t b) {
    return a < b ? -1 : a > b;
}

static int compare_ids(const struct job *a, const struct job *b) {
    return compare_numbers(a->id, b->id);
}

/* Ids only rise, also from one agent to the next: of the same tag or pid, the last in the tree is
 * the newest. */
static int compare_tags(const struct job *a, const struct job *b) {
    int r = strcmp(a->facts->tag, b->facts->tag);

    return r ? r : compare_ids(a, b);
}

static int compare_pids(const struct job *a, const struct job *b) {
    return a->pid != b->pid ? (a->pid < b->pid ? -1 : 1) : compare_ids(a, b);
}

static int compare_keys(const struct job *a, const struct job *b) {
    return strcmp(a->facts->key, b->facts->key);
}

RB_GENERATE_STATIC(jobs_by_id, job, by_id, compare_ids)
RB_GENERATE_STATIC(jobs_by_tag, job, by_tag, compare_tags)
RB_GENERATE_STATIC(jobs_by_pid, job, by_pid, compare_pids)
RB_GENERATE_STATIC(jobs_by_key, job, by_key, compare_keys)

/* ── the table ── */

static const char **own_environment(void) {
    static const char *const own[] = {"GUESTD_", "LISTEN_", "NOTIFY_SOCKET="};
    size_t n = 0, kept = 0;
    const char **list;

    while (environ[n])
        n++;
    list = calloc(n + 1, sizeof(*list));
    if (!list)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        bool skip = !strchr(environ[i], '=');

        for (size_t k = 0; k < sizeof(own) / sizeof(own[0]); k++)
            skip = skip || !strncmp(environ[i], own[k], strlen(own[k]));
        if (!skip)
            list[kept++] = environ[i];
    }
    return list;
}

struct jobs *jobs_new(struct agent *agent) {
    struct jobs *jobs = calloc(1, sizeof(*jobs));

    if (!jobs)
        return NULL;
    jobs->agent = agent;
    jobs->environ = own_environment();
    if (!jobs->environ) {
        free(jobs);
        return NULL;
    }
    RB_INIT(&jobs->ids);
    RB_INIT(&jobs->tags);
    RB_INIT(&jobs->pids);
    RB_INIT(&jobs->keys);
    jobs_retain_init(jobs);
    jobs_input_init(jobs);
    return jobs;
}

static void on_closed(uv_handle_t *handle) {
    struct jobs *jobs = handle->data;

    free(jobs->environ);
    msgpack_sbuffer_destroy(&jobs->facts);
    msgpack_sbuffer_destroy(&jobs->spawn);
    free(jobs);
}

static void on_input_closed(uv_handle_t *handle) {
    struct jobs *jobs = handle->data;

    uv_close((uv_handle_t *)&jobs->expiry, on_closed);
}

struct jobs *jobs_free(struct jobs *jobs) {
    struct job *job;

    if (!jobs)
        return NULL;
    while ((job = RB_MIN(jobs_by_id, &jobs->ids))) {
        job_abandon(job);
        job_unlist(job);
    }
    uv_timer_stop(&jobs->expiry);
    jobs_input_deinit(jobs, on_input_closed);
    return NULL;
}

struct job *job_new(struct jobs *jobs, uint64_t id, struct facts *facts) {
    struct job *job = calloc(1, sizeof(*job));

    if (!job)
        return NULL;
    job->jobs = jobs;
    job->refs = 1;
    job->listed = true;
    job->id = id;
    job->facts = facts;
    RB_INSERT(jobs_by_id, &jobs->ids, job);
    RB_INSERT(jobs_by_tag, &jobs->tags, job);
    job->keyed = facts->key && !RB_INSERT(jobs_by_key, &jobs->keys, job);
    jobs->living++;
    return job;
}

void job_started(struct job *job, int32_t pid, double at) {
    job->state = JOB_RUNNING;
    job->pid = pid;
    job->started_at = at;
    RB_INSERT(jobs_by_pid, &job->jobs->pids, job);
}

void job_close_view(struct job *job) {
    for (unsigned c = 0; c < 2; c++)
        job->end[c] = job_end(job, c);
    view_close(&job->view);
}

struct job *job_ref(struct job *job) {
    job->refs++;
    return job;
}

void job_unref(struct job *job) {
    if (--job->refs > 0)
        return;
    job_input_deinit(job);
    view_close(&job->view);
    free(job->facts);
    free(job);
}

void job_unlist(struct job *job) {
    struct jobs *jobs = job->jobs;

    if (!job->listed)
        return;
    job->listed = false;
    RB_REMOVE(jobs_by_id, &jobs->ids, job);
    RB_REMOVE(jobs_by_tag, &jobs->tags, job);
    if (job->keyed)
        RB_REMOVE(jobs_by_key, &jobs->keys, job);
    if (job->state != JOB_STARTING)
        RB_REMOVE(jobs_by_pid, &jobs->pids, job);
    if (job->state != JOB_EXITED) {
        jobs->living--;
    } else {
        *(job->older ? &job->older->newer : &jobs->oldest) = job->newer;
        *(job->newer ? &job->newer->older : &jobs->newest) = job->older;
        jobs->exited--;
    }
    job_unref(job);
}

/* ── finding ── */

struct job *jobs_by_id_find(struct jobs *jobs, uint64_t id) {
    return RB_FIND(jobs_by_id, &jobs->ids, &(struct job){.id = id});
}

/* The last in the tree before (key, UINT64_MAX): RB_NFIND gives the first after it. */
static struct job *newest_of_tag(struct jobs *jobs, const char *tag) {
    struct facts facts = {.tag = tag};
    struct job last = {.id = UINT64_MAX, .facts = &facts};
    struct job *after = RB_NFIND(jobs_by_tag, &jobs->tags, &last);
    struct job *job =
        after ? RB_PREV(jobs_by_tag, &jobs->tags, after) : RB_MAX(jobs_by_tag, &jobs->tags);

    return job && !strcmp(job->facts->tag, tag) ? job : NULL;
}

bool jobs_tag_taken(struct jobs *jobs, const char *tag) {
    struct job *job = newest_of_tag(jobs, tag);

    return job && job->state != JOB_EXITED;
}

struct job *jobs_by_tag_find(struct jobs *jobs, const char *tag) {
    struct job *job = newest_of_tag(jobs, tag);

    /* Before it has started, it isn't there: the one before it still is. */
    if (job && job->state == JOB_STARTING)
        job = RB_PREV(jobs_by_tag, &jobs->tags, job);
    return job && !strcmp(job->facts->tag, tag) ? job : NULL;
}

struct job *jobs_by_pid_find(struct jobs *jobs, int32_t pid) {
    struct job last = {.id = UINT64_MAX, .pid = pid};
    struct job *after = RB_NFIND(jobs_by_pid, &jobs->pids, &last);
    struct job *newest =
        after ? RB_PREV(jobs_by_pid, &jobs->pids, after) : RB_MAX(jobs_by_pid, &jobs->pids);

    if (!newest || newest->pid != pid)
        return NULL;
    /* A spawn that was queued for long can have a lower id than one that had its pid before. */
    for (struct job *job = newest; job && job->pid == pid;
         job = RB_PREV(jobs_by_pid, &jobs->pids, job))
        if (job->state == JOB_RUNNING)
            return job;
    return newest;
}

struct job *jobs_find_key(struct jobs *jobs, const char *key) {
    struct facts facts = {.key = key};

    return RB_FIND(jobs_by_key, &jobs->keys, &(struct job){.facts = &facts});
}

struct job *job_select(struct call *call, int64_t pid, const char *tag) {
    struct jobs *jobs = call_agent(call)->jobs;
    struct job *job;

    if (pid && tag) {
        call_fail(call, STATUS_INVALID_REQUEST, 0, "tag", "either pid or tag, not both");
        return NULL;
    }
    if (!pid && !tag) {
        call_fail(call, STATUS_INVALID_REQUEST, 0, "pid", "pid or tag is missing");
        return NULL;
    }
    job = tag ? jobs_by_tag_find(jobs, tag) : jobs_by_pid_find(jobs, (int32_t)pid);
    if (!job)
        call_fail(call, STATUS_NOT_FOUND, 0, tag ? "tag" : "pid", "no such process");
    return job;
}

static struct job *skip_starting(struct job *job) {
    while (job && job->state == JOB_STARTING)
        job = RB_NEXT(jobs_by_id, , job);
    return job;
}

struct job *jobs_first(struct jobs *jobs) {
    return skip_starting(RB_MIN(jobs_by_id, &jobs->ids));
}

struct job *job_next(struct job *job) {
    return skip_starting(RB_NEXT(jobs_by_id, , job));
}

/* ── asking ── */

uint32_t jobs_running(const struct jobs *jobs) {
    return jobs->living;
}

uint32_t jobs_retained(const struct jobs *jobs) {
    return jobs->exited;
}

bool job_running(const struct job *job) {
    return job->state == JOB_RUNNING;
}

bool job_exited(const struct job *job) {
    return job->state == JOB_EXITED;
}

int32_t job_pid(const struct job *job) {
    return job->pid;
}

const char *job_tag(const struct job *job) {
    return job->facts->tag;
}

enum encoding job_encoding(const struct job *job) {
    return job->facts->encoding;
}

const char *job_channel(const struct job *job, unsigned c) {
    if (job_has_terminal(job))
        return c == 0 ? "pty" : NULL;
    return c == 0 ? "stdout" : "stderr";
}

bool job_same_request(const struct job *job, const uint8_t *digest) {
    return memcmp(job->facts->digest, digest, sizeof(job->facts->digest)) == 0;
}

bool job_stdin_taken(const struct job *job, uint64_t *ret) {
    *ret = job->input.taken;
    return job->input.open;
}

uint64_t job_end(const struct job *job, unsigned c) {
    return job->view.base || job->view.over ? view_end(&job->view, c) : job->end[c];
}
