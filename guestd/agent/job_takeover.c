/* What an agent learns at its start of the jobs that earlier ones began: the supervisor's table. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/job_table.h"

/* A job that no agent described: the main PROGRAM, whose blob is its arguments, each with its NUL;
 * or one whose blob is from an agent that this one doesn't understand. */
static struct facts *describe(const struct link_job *message, struct slice blob) {
    struct strv args = {0};
    char tag[32];
    char *words[64];
    struct facts facts = {
        .tag = tag, .cmd = "?", .cwd = "/", .user = "root", .max_output = UINT64_MAX};
    msgpack_sbuffer packed;
    struct facts *ret = NULL;

    snprintf(tag, sizeof(tag), "job-%llx", (unsigned long long)message->job);
    if (message->flags & LINK_SPAWN_MAIN) {
        const char *at = (const char *)blob.data, *end = at + blob.len;

        strcpy(tag, "main");
        for (; args.n < sizeof(words) / sizeof(words[0]) && at < end &&
               memchr(at, 0, (size_t)(end - at));
             at += strlen(at) + 1)
            words[args.n++] = (char *)at;
        if (args.n > 0) {
            facts.cmd = words[0];
            facts.args = (struct strv){args.n - 1, words + 1};
        }
    }
    if (!(message->flags & LINK_SPAWN_FOREGROUND))
        facts.flags |= FACTS_BACKGROUND;
    msgpack_sbuffer_init(&packed);
    if (facts_pack(&facts, &packed) == 0)
        facts_unpack(packed.data, packed.size, &ret);
    msgpack_sbuffer_destroy(&packed);
    return ret;
}

static struct job *make(struct jobs *jobs, const struct link_job *message, struct slice blob) {
    struct facts *facts = NULL;
    struct job *job;

    if ((message->flags & LINK_SPAWN_MAIN) || facts_unpack(blob.data, blob.len, &facts) < 0)
        facts = describe(message, blob);
    job = facts ? job_new(jobs, message->job, facts) : NULL;
    if (!job) {
        free(facts);
        return NULL;
    }
    job->taken_over = true;
    job_input_init(job, message->flags);
    return job;
}

static int take_over(struct jobs *jobs, const struct link_job *message, int fd) {
    static uint8_t facts[LINK_FACTS_MAX];
    struct view view = {0};
    int r = message->exited ? view_open_ended(fd, &view) : view_open(fd, &view);
    struct job *job;

    if (r == -EBADMSG)
        return r;
    job = make(jobs, message, view_read_facts(fd, facts));
    if (!job) {
        view_close(&view);
        return -ENOMEM;
    }
    job->view = view;
    job->unmapped = r < 0;
    job->detached = !view_blocks(&view);
    job_started(job, message->pid, message->started_at);
    return 0;
}

/* The facts that a spec ends with; none where it isn't of a form that we know. */
static size_t read_facts(int spec, uint8_t facts[LINK_FACTS_MAX]) {
    struct link_spec head;
    struct stat st;

    if (fstat(spec, &st) < 0 || pread(spec, &head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
        head.magic != LINK_SPEC_MAGIC || head.facts > LINK_FACTS_MAX ||
        st.st_size < (off_t)(sizeof(head) + head.facts) ||
        pread(spec, facts, head.facts, st.st_size - (off_t)head.facts) != (ssize_t)head.facts)
        return 0;
    return head.facts;
}

/* It only starts: LINK_SPAWNED tells the rest. */
static int take_over_start(struct jobs *jobs, const struct link_job *message, int spec) {
    static uint8_t facts[LINK_FACTS_MAX];
    size_t len = read_facts(spec, facts);

    if (!make(jobs, message, (struct slice){facts, len}))
        return -ENOMEM;
    jobs->inherited++;
    return 0;
}

int jobs_on_job(struct jobs *jobs, const struct link_job *message, int fd) {
    struct link_exited exited = {.job = message->job, .result = message->result};
    struct job *job = jobs_by_id_find(jobs, message->job);
    int r = 0;

    if (!job && message->pid == 0) {
        r = take_over_start(jobs, message, fd);
    } else if (!job) {
        r = take_over(jobs, message, fd);
    } else if (job->state == JOB_STARTING) {
        struct link_spawned spawned = {
            .job = message->job, .pid = message->pid, .started_at = message->started_at};

        r = jobs_on_spawned(jobs, &spawned, dup(fd));
    }
    if (r == 0 && message->exited)
        jobs_on_exited(jobs, &exited);
    if (fd >= 0)
        close(fd);
    return r;
}
