/* The job table: what is found, by what, for how long. */
#include "link_rig.h"

static void a_job_is_found_from_start_to_exit(void **state) {
    struct seen seen = watching();
    uint64_t id = running("web", 100, &seen);
    struct job *job = jobs_by_tag_find(agent.jobs, "web");

    assert_non_null(job);
    assert_ptr_equal(jobs_by_pid_find(agent.jobs, 100), job);
    assert_true(job_running(job));
    assert_null(jobs_by_tag_find(agent.jobs, "we"));
    assert_null(jobs_by_tag_find(agent.jobs, "webb"));
    assert_null(jobs_by_pid_find(agent.jobs, 99));
    say(&(struct link_output){{LINK_OUTPUT, sizeof(struct link_output)}, id}, -1);
    exits(id);
    exits(id);
    assert_int_equal(seen.output, 1);
    assert_int_equal(seen.exited, 1);
    assert_true(job_exited(job));
    assert_ptr_equal(jobs_by_tag_find(agent.jobs, "web"), job);
    assert_int_equal(jobs_running(agent.jobs), 0);
    assert_int_equal(jobs_retained(agent.jobs), 1);
}

static void a_tag_is_unique_among_the_running(void **state) {
    struct seen seen[3] = {watching(), watching(), watching()};
    struct failure failure;
    struct job *old;
    uint64_t id;

    id = running("web", 100, &seen[0]);
    assert_int_equal(order("web", &seen[1], &failure), STATUS_ALREADY_EXISTS);
    assert_string_equal(failure.field, "tag");
    exits(id);
    old = jobs_by_tag_find(agent.jobs, "web");
    running("web", 101, &seen[2]);
    assert_ptr_not_equal(jobs_by_tag_find(agent.jobs, "web"), old);
    assert_int_equal(job_pid(jobs_by_tag_find(agent.jobs, "web")), 101);
    assert_ptr_equal(jobs_by_pid_find(agent.jobs, 100), old);
    job_unwatch(&seen[2].watch);
}

static void one_that_only_starts_is_not_there_but_has_its_tag(void **state) {
    struct seen seen[3] = {watching(), watching(), watching()};
    struct failure failure;
    uint64_t id;

    exits(running("web", 100, &seen[0]));
    assert_int_equal(order("web", &seen[1], &failure), 0);
    id = hear(LINK_SPAWN, NULL).spawn.job;
    assert_int_equal(job_pid(jobs_by_tag_find(agent.jobs, "web")), 100);
    assert_int_equal(order("web", &seen[2], &failure), STATUS_ALREADY_EXISTS);
    say(&(struct link_spawned){.h = {LINK_SPAWNED, sizeof(struct link_spawned)},
                               .job = id,
                               .err = ENOENT,
                               .stage = LINK_STAGE_CMD},
        -1);
    assert_int_equal(order("web", &seen[2], &failure), 0);
    job_unwatch(&seen[2].watch);
}

static void failed_starts_are_typed(void **state) {
    static const struct {
        uint32_t stage;
        int err;
        enum status code;
        const char *field;
    } cases[] = {
        {LINK_STAGE_CMD, ENOENT, STATUS_NOT_FOUND, "cmd"},
        {LINK_STAGE_CMD, EACCES, STATUS_PERMISSION_DENIED, "cmd"},
        {LINK_STAGE_CMD, EISDIR, STATUS_PERMISSION_DENIED, "cmd"},
        {LINK_STAGE_CMD, ENOEXEC, STATUS_WRONG_TYPE, "cmd"},
        {LINK_STAGE_CWD, ENOENT, STATUS_NOT_FOUND, "cwd"},
        {LINK_STAGE_CWD, ENOTDIR, STATUS_WRONG_TYPE, "cwd"},
        {LINK_STAGE_USER, EPERM, STATUS_PERMISSION_DENIED, "user"},
        {LINK_STAGE_ARGS, E2BIG, STATUS_TOO_LARGE, "args"},
        {LINK_STAGE_NONE, EAGAIN, STATUS_LIMIT_EXCEEDED, ""},
        {LINK_STAGE_BUSY, EAGAIN, STATUS_BUSY, ""},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct seen seen = watching();
        struct failure failure;
        uint64_t id;

        assert_int_equal(order(NULL, &seen, &failure), 0);
        id = hear(LINK_SPAWN, NULL).spawn.job;
        say(&(struct link_spawned){.h = {LINK_SPAWNED, sizeof(struct link_spawned)},
                                   .job = id,
                                   .err = cases[i].err,
                                   .stage = cases[i].stage},
            -1);
        assert_int_equal(seen.started, 1);
        assert_int_equal(seen.failure.code, cases[i].code);
        assert_string_equal(seen.failure.field, cases[i].field);
        assert_int_equal(seen.failure.err, cases[i].err);
        assert_null(jobs_by_id_find(agent.jobs, id));
    }
    assert_int_equal(jobs_running(agent.jobs), 0);
}

static void only_so_many_run(void **state) {
    struct seen seen[5];
    struct failure failure;

    for (int i = 0; i < 5; i++)
        seen[i] = watching();
    for (int i = 0; i < 4; i++)
        running(NULL, 100 + i, &seen[i]);
    assert_int_equal(order(NULL, &seen[4], &failure), STATUS_LIMIT_EXCEEDED);
    exits(jobs_by_pid_find(agent.jobs, 102)->id);
    assert_int_equal(order(NULL, &seen[4], &failure), 0);
    for (int i = 0; i < 5; i++)
        job_unwatch(&seen[i].watch);
}

static void the_oldest_exited_are_forgotten(void **state) {
    uint64_t first = 0;
    struct seen seen;

    for (int i = 0; i < 5; i++) {
        uint64_t id;

        seen = watching();
        if (i == 4) { /* the first was forgotten with the fourth's exit: told with the next spawn */
            struct failure failure;

            assert_true(silent());
            assert_int_equal(order(NULL, &seen, &failure), 0);
            assert_int_equal(hear(LINK_FORGET, NULL).ref.job, first);
            hear(LINK_SPAWN, NULL);
            break;
        }
        id = running(NULL, 100 + i, &seen);
        first = first ? first : id;
        exits(id);
    }
    assert_int_equal(jobs_retained(agent.jobs), 3);
    assert_null(jobs_by_pid_find(agent.jobs, 100));
    assert_non_null(jobs_by_pid_find(agent.jobs, 101));
    job_unwatch(&seen.watch);
}

static void exited_ones_are_forgotten_in_time(void **state) {
    struct seen seen = watching();
    uint64_t id;

    agent.limit[LIMIT_retained_s] = 1;
    id = running("web", 100, &seen);
    exits(id);
    uv_ref((uv_handle_t *)&agent.jobs->expiry);
    while (jobs_by_tag_find(agent.jobs, "web"))
        uv_run(&agent.loop, UV_RUN_ONCE); /* cmocka's alarm is the test runner's timeout */
    assert_int_equal(hear(LINK_FORGET, NULL).ref.job, id);
    assert_false(uv_is_active((uv_handle_t *)&agent.jobs->expiry));
}

static void moves(uint64_t id, struct store_file *file) {
    say(&(struct link_job_ref){{LINK_STORE, sizeof(struct link_job_ref)}, id}, file->fd);
    assert_int_equal(hear(LINK_STORED, NULL).ref.job, id);
}

/* The supervisor needed the room: what is read from now on is the smaller store. */
static void a_store_moves(void **state) {
    struct store_file file = store_file_make(STORE_DROP, 4, "", 0);
    struct seen seen = watching();
    uint64_t id = running("web", 100, &seen);
    const struct view *view = &jobs_by_id_find(agent.jobs, id)->view;
    char text[4];

    store_file_write(&file, 0, "0123456789");
    moves(id, &file);
    assert_int_equal(view_oldest(view, 0), 6);
    assert_int_equal(view_copy(view, 0, 6, text, 4), 6);
    assert_memory_equal(text, "6789", 4);
    store_file_close(&file);
    exits(id);
    assert_non_null(view->base);
}

/* An exited job's output goes whole: its record stays, and how much there was. */
static void output_is_shed(void **state) {
    struct store_file file = store_file_make(STORE_DROP, 0, "", 0);
    struct seen seen = watching();
    uint64_t id = running("web", 100, &seen);
    const struct job *job = jobs_by_id_find(agent.jobs, id);

    exits(id);
    for (unsigned c = 0; c < 2; c++) {
        file.head->ring[c].end = file.head->ring[c].oldest = 6 + c;
        file.head->ring[c].eof = 1;
    }
    moves(id, &file);
    store_file_close(&file);
    assert_null(job->view.base);
    assert_int_equal(job_end(job, 0), 6);
    assert_int_equal(job_end(job, 1), 7);
    assert_ptr_equal(jobs_by_tag_find(agent.jobs, "web"), job);
}

/* It was forgotten meanwhile: there is nothing to let go of, and that is said. */
static void the_store_of_a_stranger_moves(void **state) {
    struct store_file file = store_file_make(STORE_DROP, 4, "", 0);

    moves(4711, &file);
    store_file_close(&file);
}

static void guestds_own_variables_are_not_for_programs(void **state) {
    struct jobs *jobs;
    bool mine = false;

    setenv("GUESTD_TEST", "x", 1);
    setenv("LISTEN_FDS", "1", 1);
    setenv("NOTIFY_SOCKET", "/n", 1);
    setenv("NOTIFY_SOCKETS", "mine", 1);
    jobs = jobs_new(&agent);
    for (const char **at = jobs->environ; *at; at++) {
        assert_int_not_equal(strncmp(*at, "GUESTD_", 7), 0);
        assert_int_not_equal(strncmp(*at, "LISTEN_", 7), 0);
        assert_int_not_equal(strncmp(*at, "NOTIFY_SOCKET=", 14), 0);
        mine |= !strcmp(*at, "NOTIFY_SOCKETS=mine");
    }
    assert_true(mine);
    jobs_free(jobs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define WITH_LINK(test) cmocka_unit_test_setup_teardown(test, set_up_and_serve, tear_down)
        WITH_LINK(a_job_is_found_from_start_to_exit),
        WITH_LINK(a_tag_is_unique_among_the_running),
        WITH_LINK(one_that_only_starts_is_not_there_but_has_its_tag),
        WITH_LINK(failed_starts_are_typed),
        WITH_LINK(only_so_many_run),
        WITH_LINK(the_oldest_exited_are_forgotten),
        WITH_LINK(exited_ones_are_forgotten_in_time),
        WITH_LINK(a_store_moves),
        WITH_LINK(output_is_shed),
        WITH_LINK(the_store_of_a_stranger_moves),
        WITH_LINK(guestds_own_variables_are_not_for_programs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
