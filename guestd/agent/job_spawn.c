/* From an order to LINK_SPAWN: ids and tags, the spec, the sealed stdin. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/childenv.h"
#include "agent/job_table.h"
#include "agent/link.h"
#include "agent/tag.h"

#define TAG_TRIES 8
#define KEPT_BYTES (16u << 10)

/* A memfd with these bytes, which nobody can change any more. Returns the fd, read from its start,
 * or -errno. */
static int sealed(const char *name, const void *data, size_t len) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    size_t done = 0;
    int r = 0;

    if (fd < 0)
        return -errno;
    while (done < len && r == 0) {
        ssize_t n = pwrite(fd, (const char *)data + done, len - done, (off_t)done);

        if (n >= 0)
            done += (size_t)n;
        else if (errno != EINTR)
            r = -errno;
    }
    if (r == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        r = -errno;
    if (r == 0)
        return fd;
    close(fd);
    return r;
}

/* Memory of this size comes and goes by mmap(2) in some allocators, which is dear for every start.
 */
static void empty(msgpack_sbuffer *buffer) {
    msgpack_sbuffer_clear(buffer);
    if (buffer->alloc > KEPT_BYTES) {
        msgpack_sbuffer_destroy(buffer);
        msgpack_sbuffer_init(buffer);
    }
}

static int append(msgpack_sbuffer *out, const void *data, size_t len) {
    return len && msgpack_sbuffer_write(out, data, len) ? -ENOMEM : 0;
}

static int append_strings(struct job *job, const struct job_order *order, struct link_spec *spec,
                          msgpack_sbuffer *out) {
    const struct link_hello *hello = &job->jobs->agent->hello;
    size_t start = out->size;
    char mark[48];
    struct childenv env = {
        .own = job->jobs->environ,
        .home = order->home,
        .user = order->user,
        .shell = order->shell,
        .term = order->rows ? order->term : NULL,
        .envs = order->envs,
    };
    const char *path;
    int r = append(out, order->cmd, strlen(order->cmd) + 1);

    for (size_t i = 0; i < order->args->n; i++)
        r |= append(out, order->args->v[i], strlen(order->args->v[i]) + 1);
    spec->argc = 1 + (uint32_t)order->args->n;
    if (hello->kill_tree == LINK_KILL_BEST_EFFORT) {
        snprintf(mark, sizeof(mark), "%016llx-%016llx", (unsigned long long)hello->job_nonce,
                 (unsigned long long)job->id);
        env.mark = mark;
    }
    if (r || childenv_append(&env, out, &spec->envc, &path) < 0)
        return -ENOMEM;
    r = childenv_candidates(order->cmd, path, out);
    if (r < 0)
        return r;
    if (append(out, order->cwd, strlen(order->cwd) + 1))
        return -ENOMEM;
    spec->candidates = (uint32_t)r;
    spec->strings = (uint32_t)(out->size - start);
    return 0;
}

/* Leaves room for LINK_SPAWN's head, and puts the spec behind it. */
static int append_spec(struct job *job, const struct job_order *order, struct slice facts,
                       msgpack_sbuffer *out) {
    static const struct link_spawn blank;
    struct link_spec spec = {.magic = LINK_SPEC_MAGIC, .facts = (uint32_t)facts.len};
    int r = append(out, &blank, sizeof(blank));

    r |= append(out, &spec, sizeof(spec));
    for (size_t i = 0; order->set_user && i < order->n_groups; i++)
        r |= append(out, &(uint32_t){order->groups[i]}, sizeof(uint32_t));
    spec.groups = order->set_user ? (uint32_t)order->n_groups : 0;
    spec.filter = (uint32_t)order->n_filter;
    r |= append(out, order->filter, order->n_filter * 8);
    if (r == 0)
        r = append_strings(job, order, &spec, out);
    if (r < 0)
        return r;
    if (append(out, facts.data, facts.len))
        return -ENOMEM;
    memcpy(out->data + sizeof(blank), &spec, sizeof(spec));
    return out->size - sizeof(blank) > LINK_SPEC_MAX ? -E2BIG : 0;
}

/* A supervisor of the version before knows specs in files only. */
static bool fits_here(const struct job *job, size_t len) {
    return len <= LINK_SPEC_HERE_MAX && job->jobs->agent->hello.version >= 3;
}

/* Its store will come as a file: an agent without room for one would lose its link then. */
static int find_room(void) {
    int fd = dup(LINK_FD);

    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

/* Opens nothing unless it opens all. Returns the number of fds, or -errno. */
static int make_fds(const struct job_order *order, struct slice spec, bool here, int fds[2]) {
    int n = 0;

    if (!here) {
        fds[0] = sealed("guestd-spec", spec.data, spec.len);
        if (fds[0] < 0)
            return fds[0];
        n = 1;
    }
    if (!order->input.data)
        return n > 0 ? n : find_room();
    fds[n] = sealed("guestd-stdin", order->input.data, order->input.len);
    if (fds[n] >= 0)
        return n + 1;
    if (n)
        close(fds[0]);
    return fds[n];
}

static uint32_t flags_of(const struct job_order *order, bool here) {
    return (order->input.data ? LINK_SPAWN_STDIN : 0) |
           (order->no_new_privs ? LINK_SPAWN_NO_NEW_PRIVS : 0) |
           (order->kill_rest ? LINK_SPAWN_KILL_REST : 0) |
           (order->background ? 0 : LINK_SPAWN_FOREGROUND) |
           (order->set_user ? LINK_SPAWN_SET_USER : 0) | (here ? LINK_SPAWN_SPEC_HERE : 0) |
           (order->rows         ? LINK_SPAWN_PTY
            : order->stdin_open ? LINK_SPAWN_STDIN_OPEN
                                : 0);
}

/* `out`: room for the head, and the spec. */
static int send_whole(struct job *job, const struct job_order *order, msgpack_sbuffer *out) {
    size_t len = out->size - sizeof(struct link_spawn);
    bool here = fits_here(job, len);
    struct link_spawn message = {
        .h = {LINK_SPAWN, (uint32_t)(sizeof(message) + (here ? len : 0))},
        .job = job->id,
        .flags = flags_of(order, here),
        .uid = order->uid,
        .gid = order->gid,
        .grace_ms = order->grace_ms,
        .timeout_ms = order->timeout_ms,
        .store = {{order->max_output, order->mode, 0},
                  {order->rows ? 0 : order->max_output, order->mode, 0}},
        .rows = order->rows,
        .cols = order->cols,
        .limits = order->limits,
    };
    int fds[2] = {-1, -1};
    int n = make_fds(order, (struct slice){(uint8_t *)out->data + sizeof(message), len}, here, fds);

    if (n < 0)
        return n;
    memcpy(message.limit, order->limit, sizeof(message.limit));
    memcpy(out->data, &message, sizeof(message));
    job_input_init(job, message.flags);
    jobs_forget_flush(job->jobs);
    return link_send(job->jobs->agent->link, out->data, fds, (unsigned)n);
}

static int send_spawn(struct job *job, const struct job_order *order, struct slice facts) {
    msgpack_sbuffer *out = &job->jobs->spawn;
    int r = append_spec(job, order, facts, out);

    if (r == 0)
        r = send_whole(job, order, out);
    empty(out);
    return r;
}

static int choose_tag(struct jobs *jobs, const char *wanted, char made[TAG_MADE_SIZE],
                      struct failure *failure) {
    if (wanted) {
        if (!tag_valid(wanted))
            return failure_set(
                failure, STATUS_INVALID_REQUEST, 0, "tag",
                "a tag has 1 to 128 bytes of text, no control characters, and is no number");
        if (jobs_tag_taken(jobs, wanted))
            return failure_set(failure, STATUS_ALREADY_EXISTS, 0, "tag",
                               "a running process has this tag");
        return 0;
    }
    for (int tries = 0; tries < TAG_TRIES; tries++)
        if (tag_make(made) == 0 && !jobs_by_tag_find(jobs, made) && !jobs_tag_taken(jobs, made))
            return 0;
    return failure_set(failure, STATUS_INTERNAL, EIO, "tag", "no tag could be made");
}

static int refuse(int err, struct failure *failure) {
    if (err == -E2BIG)
        return failure_set(failure, STATUS_TOO_LARGE, E2BIG, "args",
                           "arguments and environment are over %u bytes", LINK_SPEC_MAX);
    if (err == -ENOMEM || err == -EMFILE || err == -ENFILE)
        return failure_set(failure, STATUS_LIMIT_EXCEEDED, -err, NULL,
                           "no memory or file descriptors for it");
    return failure_set(failure, status_from_errno(err), -err, NULL, "it could not be handed over");
}

/* Packed and unpacked again: what the next agent will read is what this one goes by. */
static int make_facts(const struct job_order *order, const char *tag, msgpack_sbuffer *blob,
                      struct facts **ret) {
    struct facts facts = {
        .tag = tag,
        .cmd = order->cmd,
        .args = *order->args,
        .cwd = order->cwd,
        .user = order->user,
        .flags = (order->background ? FACTS_BACKGROUND : 0) | (order->stream ? FACTS_STREAM : 0) |
                 (order->rows ? FACTS_PTY : 0),
        .encoding = order->encoding,
        .max_output = order->max_output,
        .key = order->key,
    };
    int r;

    if (order->key)
        memcpy(facts.digest, order->digest, sizeof(facts.digest));
    r = facts_pack(&facts, blob);

    return r < 0 ? r : facts_unpack(blob->data, blob->size, ret);
}

int jobs_start(struct jobs *jobs, const struct job_order *order, struct job_watch *watch,
               struct failure *ret_failure) {
    struct agent *agent = jobs->agent;
    uint64_t most = agent->limit[LIMIT_processes];
    uint64_t id = (uint64_t)agent->hello.restarts << 32 | (jobs->counter + 1);
    char made[TAG_MADE_SIZE];
    msgpack_sbuffer *blob = &jobs->facts;
    struct facts *facts = NULL;
    struct job *job;
    int r;

    if (agent->hello.max_jobs && agent->hello.max_jobs < most)
        most = agent->hello.max_jobs;
    if (agent->stopping)
        return failure_set(ret_failure, STATUS_BUSY, 0, NULL, "guestd is shutting down");
    if (jobs->living >= most)
        return failure_set(ret_failure, STATUS_LIMIT_EXCEEDED, 0, NULL,
                           "%llu processes run already", (unsigned long long)jobs->living);
    r = choose_tag(jobs, order->tag, made, ret_failure);
    if (r)
        return r;
    r = make_facts(order, order->tag ? order->tag : made, blob, &facts);
    job = r == 0 ? job_new(jobs, id, facts) : NULL;
    if (!job) {
        free(facts);
        r = r < 0 ? r : -ENOMEM;
    } else {
        jobs->counter++;
        job->detached = order->mode != STORE_BLOCK;
        r = send_spawn(job, order, (struct slice){(uint8_t *)blob->data, blob->size});
        if (r < 0)
            job_unlist(job);
        else
            job_watch(job, watch);
    }
    empty(blob);
    if (r < 0)
        return refuse(r, ret_failure);
    agent_touch(agent);
    return 0;
}
