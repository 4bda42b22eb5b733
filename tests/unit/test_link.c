/* The agent's end of the link: what it sends, what it makes of what comes. */
#include "link_rig.h"

static void check_spec(const char *bytes, size_t len, const char *cmd) {
    struct facts *facts = NULL;
    struct link_spec spec;

    memcpy(&spec, bytes, sizeof(spec));
    assert_int_equal(spec.magic, LINK_SPEC_MAGIC);
    assert_int_equal(spec.argc, 2);
    assert_true(spec.candidates > 1);
    assert_int_equal(len, sizeof(spec) + spec.strings + spec.facts);
    assert_string_equal(bytes + sizeof(spec), "ls");
    assert_string_equal(bytes + sizeof(spec) + 3, cmd);
    assert_string_equal(bytes + sizeof(spec) + spec.strings - 5, "/tmp");
    assert_int_equal(facts_unpack(bytes + sizeof(spec) + spec.strings, spec.facts, &facts), 0);
    assert_string_equal(facts->tag, "web");
    free(facts);
}

static void check_head(const struct link_spawn *spawn, uint32_t flags) {
    assert_int_equal(spawn->job, UINT64_C(7) << 32 | 1);
    assert_int_equal(spawn->flags, LINK_SPAWN_FOREGROUND | flags);
    assert_int_equal(spawn->store[1].size, 4096);
}

static void a_short_spec_comes_with_its_order(void **state) {
    struct seen seen = watching();
    struct failure failure;
    union heard heard;
    int fd;

    assert_int_equal(order("web", &seen, &failure), 0);
    heard = hear(LINK_SPAWN, &fd);
    assert_int_equal(fd, -1);
    check_head(&heard.spawn, LINK_SPAWN_SPEC_HERE);
    check_spec((const char *)heard.spawn_here.spec, heard.h.size - sizeof(heard.spawn), "-l");
    job_unwatch(&seen.watch);
}

static void check_file(const char *arg) {
    struct seen seen = watching();
    struct failure failure;
    char bytes[65536];
    union heard heard;
    ssize_t len;
    int fd;

    assert_int_equal(order_with("web", arg, &seen, &failure), 0);
    heard = hear(LINK_SPAWN, &fd);
    assert_int_equal(heard.h.size, sizeof(heard.spawn));
    check_head(&heard.spawn, 0);
    assert_int_equal(fcntl(fd, F_GET_SEALS),
                     F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    len = pread(fd, bytes, sizeof(bytes), 0);
    close(fd);
    check_spec(bytes, (size_t)len, arg);
    job_unwatch(&seen.watch);
}

static void a_long_spec_is_a_sealed_file(void **state) {
    char arg[LINK_SPEC_HERE_MAX] = "";

    memset(arg, 'x', sizeof(arg) - 1);
    check_file(arg);
}

static void an_older_supervisor_gets_files(void **state) {
    agent.hello.version = 2;
    check_file("-l");
}

static void signalled(int err, void *arg) {
    *(int *)arg = err;
}

static void a_signal_is_answered(void **state) {
    union heard heard;
    int err = -1;

    assert_int_equal(link_signal(agent.link, 5, 15, LINK_SCOPE_GROUP, signalled, &err), 0);
    heard = hear(LINK_SIGNAL, NULL);
    assert_int_equal(heard.signal.job, 5);
    assert_int_equal(heard.signal.signal, 15);
    assert_int_equal(heard.signal.scope, LINK_SCOPE_GROUP);
    say(&(struct link_done){.h = {LINK_DONE, sizeof(struct link_done)},
                            .request = heard.signal.request,
                            .err = ESRCH},
        -1);
    assert_int_equal(err, ESRCH);
}

static void pings_are_answered_and_stopping_is_noted(void **state) {
    say(&(struct link_header){LINK_PING, sizeof(struct link_header)}, -1);
    hear(LINK_PONG, NULL);
    say(&(struct link_header){LINK_STOPPING, sizeof(struct link_header)}, -1);
    assert_true(agent.stopping);
}

/* More than the socket holds waits in order. */
static void a_full_link_loses_nothing(void **state) {
    enum { MANY = 5000 };

    for (uint64_t i = 0; i < MANY; i++) {
        struct link_job_ref message = {{LINK_CANCEL, sizeof(message)}, i};

        assert_int_equal(link_send(agent.link, &message, NULL, 0), 0);
    }
    for (uint64_t i = 0; i < MANY; i++) {
        if (silent())
            uv_run(&agent.loop, UV_RUN_ONCE);
        assert_int_equal(hear(LINK_CANCEL, NULL).ref.job, i);
    }
    assert_true(silent());
}

/* ── another agent's jobs ── */

static void send_job_at(uint64_t id, uint32_t flags, int32_t pid, double exited_at,
                        const void *facts, size_t len) {
    struct store_file file = store_file_make(STORE_DROP, 4096, facts, len);

    say(&(struct link_job){.h = {LINK_JOB, sizeof(struct link_job)},
                           .job = id,
                           .pid = pid,
                           .flags = flags,
                           .exited = exited_at > 0,
                           .started_at = 1,
                           .result = {.exited_at = exited_at}},
        file.fd);
    store_file_close(&file);
}

static void send_job(uint64_t id, uint32_t flags, int32_t pid, bool exited, const void *facts,
                     size_t len) {
    send_job_at(id, flags, pid, exited ? agent_now() : 0, facts, len);
}

/* An exit that nobody was told of yet comes first, and is the last to be forgotten. */
static void the_newest_are_remembered_in_whatever_order_they_are_told(void **state) {
    static const struct {
        int32_t pid, age_s;
    } told[] = {{60, 0}, {61, 40}, {62, 30}, {63, 5}, {64, 20}, {65, 10}};

    for (unsigned i = 0; i < sizeof(told) / sizeof(*told); i++)
        send_job_at(i + 1, 0, told[i].pid, agent_now() - told[i].age_s, "rubbish", 7);
    say(&(struct link_header){LINK_JOBS_END, sizeof(struct link_header)}, -1);
    assert_int_equal(link_start(&agent), 0);
    assert_int_equal(jobs_retained(agent.jobs), 3);
    for (int32_t pid = 60; pid < 66; pid++)
        assert_int_equal(jobs_by_pid_find(agent.jobs, pid) != NULL,
                         pid == 60 || pid == 63 || pid == 65);
}

static void jobs_are_taken_over(void **state) {
    struct facts facts = {.tag = "db", .cmd = "postgres", .cwd = "/", .user = "pg"};
    static const char program[] = "/sbin/app\0--flag";
    msgpack_sbuffer blob;

    msgpack_sbuffer_init(&blob);
    assert_int_equal(facts_pack(&facts, &blob), 0);
    send_job(1, 0, 50, 0, blob.data, blob.size);
    send_job(2, LINK_SPAWN_MAIN, 51, 0, program, sizeof(program));
    send_job(3, 0, 52, 1, "rubbish", 7);
    msgpack_sbuffer_destroy(&blob);
    say(&(struct link_header){LINK_JOBS_END, sizeof(struct link_header)}, -1);
    assert_int_equal(link_start(&agent), 0);

    assert_int_equal(job_pid(jobs_by_tag_find(agent.jobs, "db")), 50);
    assert_int_equal(job_pid(jobs_by_tag_find(agent.jobs, "main")), 51);
    assert_string_equal(jobs_by_tag_find(agent.jobs, "main")->facts->cmd, "/sbin/app");
    assert_string_equal(jobs_by_tag_find(agent.jobs, "main")->facts->args.v[0], "--flag");
    assert_true(job_exited(jobs_by_pid_find(agent.jobs, 52)));
    assert_int_equal(jobs_running(agent.jobs), 2);
}

/* Who comes back as soon as there is an agent is to find it by its tag. */
static void a_start_under_way_is_waited_for(void **state) {
    struct facts facts = {.tag = "db", .cmd = "postgres", .cwd = "/", .user = "pg"};
    struct store_file file = store_file_make(STORE_DROP, 4096, "", 0);
    struct link_spec spec = {.magic = LINK_SPEC_MAGIC};
    int fd = memfd_create("spec", MFD_CLOEXEC);
    msgpack_sbuffer blob;

    msgpack_sbuffer_init(&blob);
    assert_int_equal(facts_pack(&facts, &blob), 0);
    spec.facts = (uint32_t)blob.size;
    assert_int_equal(write(fd, &spec, sizeof(spec)), sizeof(spec));
    assert_int_equal(write(fd, blob.data, blob.size), blob.size);
    msgpack_sbuffer_destroy(&blob);
    say(&(struct link_job){.h = {LINK_JOB, sizeof(struct link_job)}, .job = 1}, fd);
    say(&(struct link_job){.h = {LINK_JOB, sizeof(struct link_job)}, .job = 2}, fd); /* hangs */
    close(fd);
    say(&(struct link_header){LINK_JOBS_END, sizeof(struct link_header)}, -1);
    say(&(struct link_spawned){.h = {LINK_SPAWNED, sizeof(struct link_spawned)},
                               .job = 1,
                               .pid = 50,
                               .started_at = agent_now()},
        file.fd);
    store_file_close(&file);
    assert_int_equal(link_start(&agent), 0);
    assert_int_equal(job_pid(jobs_by_tag_find(agent.jobs, "db")), 50);
    assert_int_equal(agent.jobs->inherited, 1);
}

/* Such a store isn't even mapped. */
static void what_a_store_did_not_keep_is_counted(void **state) {
    struct store_file file = store_file_make(STORE_DROP, 4096, "", 0);
    const struct job *job;

    file.head->ring[0].end = file.head->ring[0].oldest = 7;
    file.head->ring[0].eof = file.head->ring[1].eof = 1;
    say(&(struct link_job){.h = {LINK_JOB, sizeof(struct link_job)},
                           .job = 1,
                           .pid = 53,
                           .exited = 1,
                           .started_at = 1,
                           .result = {.exited_at = agent_now()}},
        file.fd);
    store_file_close(&file);
    say(&(struct link_header){LINK_JOBS_END, sizeof(struct link_header)}, -1);
    assert_int_equal(link_start(&agent), 0);
    job = jobs_by_pid_find(agent.jobs, 53);
    assert_null(job->view.base);
    assert_int_equal(job_end(job, 0), 7);
    assert_int_equal(job_end(job, 1), 0);
}

/* A full link dropped LINK_SPAWNED and LINK_EXITED: the table says it all. */
static void the_table_makes_up_for_lost_events(void **state) {
    struct seen seen = watching();
    struct failure failure;
    uint64_t id;

    assert_int_equal(order("web", &seen, &failure), 0);
    id = hear(LINK_SPAWN, NULL).spawn.job;
    send_job(id, 0, 70, 1, "", 0);
    assert_int_equal(seen.started, 1);
    assert_int_equal(seen.exited, 1);
    assert_true(job_exited(jobs_by_tag_find(agent.jobs, "web")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define WITH_LINK(test) cmocka_unit_test_setup_teardown(test, set_up_and_serve, tear_down)
        WITH_LINK(a_short_spec_comes_with_its_order),
        WITH_LINK(a_long_spec_is_a_sealed_file),
        WITH_LINK(an_older_supervisor_gets_files),
        WITH_LINK(a_signal_is_answered),
        WITH_LINK(pings_are_answered_and_stopping_is_noted),
        WITH_LINK(a_full_link_loses_nothing),
        WITH_LINK(the_table_makes_up_for_lost_events),
        cmocka_unit_test_setup_teardown(jobs_are_taken_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_start_under_way_is_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_store_did_not_keep_is_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_newest_are_remembered_in_whatever_order_they_are_told,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
