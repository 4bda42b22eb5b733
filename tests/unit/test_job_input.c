/* A job's stdin on the agent's side: in which order, how far ahead, and through a link that is
 * full. */
#include "link_rig.h"

#define BUFFER (4u * LINK_INPUT_MAX)
#define ID UINT64_C(0x100000005)

static struct {
    struct link_input head;
    uint8_t bytes[LINK_INPUT_MAX];
} heard_input;

/* A job of an earlier agent, whose stdin is open. */
static struct job *open_job(uint32_t flags) {
    struct store_file file = store_file_make(STORE_DROP, 4096, "", 0);

    agent.limit[LIMIT_stdin_buffer] = BUFFER;
    agent.limit[LIMIT_queue_total] = 16 * BUFFER;
    say(&(struct link_job){.h = {LINK_JOB, sizeof(struct link_job)},
                           .job = ID,
                           .pid = 5,
                           .flags = flags,
                           .started_at = agent_now()},
        file.fd);
    store_file_close(&file);
    return jobs_by_id_find(agent.jobs, ID);
}

static void tell(struct link_taken taken) {
    taken.h = (struct link_header){LINK_TAKEN, sizeof(taken)};
    taken.job = ID;
    say(&taken, -1);
}

static uint8_t pattern(uint64_t off) {
    return (uint8_t)(off * 7 + off / 251);
}

static void add(struct job *job, size_t len) {
    uint8_t *bytes = malloc(len);

    for (size_t i = 0; i < len; i++)
        bytes[i] = pattern(job->input.end + i);
    assert_int_equal(job_input_add(job, bytes, len), 0);
    free(bytes);
}

/* The next LINK_INPUT, which is to begin at `off`. Returns its length. */
static size_t hear_input(uint64_t off, uint32_t flags) {
    struct pollfd ready = {.fd = supervisor, .events = POLLIN};
    ssize_t len;

    assert_int_equal(poll(&ready, 1, DEADLINE_MS), 1);
    len = recv(supervisor, &heard_input, sizeof(heard_input), 0);
    assert_true(len >= (ssize_t)sizeof(heard_input.head));
    assert_int_equal(heard_input.head.h.type, LINK_INPUT);
    assert_int_equal(heard_input.head.h.size, len);
    assert_int_equal(heard_input.head.len, (size_t)len - sizeof(heard_input.head));
    assert_int_equal(heard_input.head.job, ID);
    assert_int_equal(heard_input.head.off, off);
    assert_int_equal(heard_input.head.flags, flags);
    for (uint32_t i = 0; i < heard_input.head.len; i++)
        assert_int_equal(heard_input.bytes[i], pattern(off + i));
    return heard_input.head.len;
}

static void bytes_go_on_where_they_were(void **state) {
    struct job *job = open_job(LINK_SPAWN_STDIN_OPEN);

    tell((struct link_taken){.taken = 1000, .written = 10});
    add(job, 5);
    assert_int_equal(hear_input(1000, 0), 5);
    add(job, 7);
    assert_int_equal(hear_input(1005, 0), 7);
    assert_true(silent());
    assert_int_equal(job_input_add_end(job), 0);
    assert_int_equal(hear_input(1012, LINK_INPUT_CLOSE), 0);
    assert_int_equal(job_input_add_end(job), 0); /* twice is once */
    assert_true(silent());
}

static void a_terminal_has_more_than_one_end(void **state) {
    struct job *job = open_job(LINK_SPAWN_PTY);

    add(job, 3);
    assert_int_equal(hear_input(0, 0), 3);
    assert_int_equal(job_input_add_end(job), 0);
    assert_int_equal(hear_input(3, LINK_INPUT_CLOSE), 0);
    add(job, 3);
    assert_int_equal(hear_input(3, 0), 3);
    assert_int_equal(job_input_add_end(job), 0);
    assert_int_equal(hear_input(6, LINK_INPUT_CLOSE), 0);
}

static void no_more_is_sent_than_the_supervisor_keeps(void **state) {
    struct job *job = open_job(LINK_SPAWN_STDIN_OPEN);
    uint64_t off = 0;

    add(job, BUFFER + 100);
    assert_int_equal(job_input_add_end(job), 0);
    while (off < BUFFER)
        off += hear_input(off, 0);
    assert_true(silent());
    tell((struct link_taken){.taken = BUFFER});
    assert_true(silent());
    tell((struct link_taken){.taken = BUFFER, .written = 60});
    assert_int_equal(hear_input(BUFFER, 0), 60);
    tell((struct link_taken){.taken = BUFFER + 60, .written = 1000});
    assert_int_equal(hear_input(BUFFER + 60, LINK_INPUT_CLOSE), 40);
    assert_int_equal(agent.jobs->unread, BUFFER + 100 - 1000);
}

/* What a full link doesn't take stays where it is, and goes out in order later. */
static void a_full_link_holds_it_up(void **state) {
    struct job *job = open_job(LINK_SPAWN_STDIN_OPEN);
    uint64_t off = 0, end = 0;

    while (!job->input.queued) {
        add(job, LINK_INPUT_MAX / 2);
        end = job->input.end;
        if (end - job->input.written > BUFFER / 2) /* as if it was read at once */
            job->input.written = job->input.taken = end;
    }
    add(job, 100);
    add(job, 100);
    end = job->input.end;
    assert_true(job->input.sent < end);
    while (off < end) {
        off += hear_input(off, 0);
        uv_run(&agent.loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(off, end);
    assert_false(job->input.queued);
}

static void many_small_pieces_go_together(void **state) {
    struct job *job = open_job(LINK_SPAWN_STDIN_OPEN);
    uint64_t off;

    add(job, BUFFER);
    for (int i = 0; i < 5000; i++)
        add(job, 1);
    for (off = 0; off < BUFFER;)
        off += hear_input(off, 0);
    tell((struct link_taken){.taken = BUFFER, .written = BUFFER});
    assert_int_equal(hear_input(BUFFER, 0), 5000);
}

/* The supervisor had no memory: from there on again, after a moment. */
static void what_was_refused_is_sent_again(void **state) {
    struct job *job = open_job(LINK_SPAWN_STDIN_OPEN);

    add(job, 1000);
    add(job, 2000);
    assert_int_equal(job_input_add_end(job), 0);
    hear_input(0, 0);
    hear_input(1000, 0);
    hear_input(3000, LINK_INPUT_CLOSE);
    tell((struct link_taken){.taken = 400, .written = 400, .err = ENOMEM});
    assert_true(silent());
    while (silent())
        uv_run(&agent.loop, UV_RUN_ONCE);
    assert_int_equal(hear_input(400, LINK_INPUT_CLOSE), 2600);
    assert_int_equal(agent.jobs->unread, 2600);
    tell((struct link_taken){.taken = 3000, .written = 400, .ends = 1});
    assert_null(job->input.first);
}

static void nothing_is_sent_to_who_reads_no_more(void **state) {
    struct job *job = open_job(LINK_SPAWN_STDIN_OPEN);

    add(job, 2 * BUFFER);
    for (uint64_t off = 0; off < BUFFER;)
        off += hear_input(off, 0);
    tell((struct link_taken){.taken = 1000, .written = 1000, .closed = 1});
    assert_true(silent());
    assert_null(job->input.first);
    assert_int_equal(agent.jobs->unread, 0);
    assert_int_equal(job_input_add_end(job), 0);
    assert_true(silent());
}

static void an_exit_lets_go_of_what_waits(void **state) {
    struct job *job = open_job(LINK_SPAWN_STDIN_OPEN);

    add(job, 2 * BUFFER);
    for (uint64_t off = 0; off < BUFFER;)
        off += hear_input(off, 0);
    exits(ID);
    assert_null(job->input.first);
    assert_int_equal(agent.jobs->unread, 0);
    tell((struct link_taken){.taken = BUFFER, .written = 1000}); /* late: no harm */
    assert_true(silent());
}

static void what_is_told_of_others_is_no_matter(void **state) {
    open_job(0);
    tell((struct link_taken){.taken = 1000, .written = 1000, .closed = 1});
    say(&(struct link_taken){.h = {LINK_TAKEN, sizeof(struct link_taken)}, .job = 99}, -1);
    assert_true(silent());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_go_on_where_they_were, set_up_and_serve, tear_down),
        cmocka_unit_test_setup_teardown(a_terminal_has_more_than_one_end, set_up_and_serve,
                                        tear_down),
        cmocka_unit_test_setup_teardown(no_more_is_sent_than_the_supervisor_keeps, set_up_and_serve,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_full_link_holds_it_up, set_up_and_serve, tear_down),
        cmocka_unit_test_setup_teardown(many_small_pieces_go_together, set_up_and_serve, tear_down),
        cmocka_unit_test_setup_teardown(what_was_refused_is_sent_again, set_up_and_serve,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_sent_to_who_reads_no_more, set_up_and_serve,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_exit_lets_go_of_what_waits, set_up_and_serve, tear_down),
        cmocka_unit_test_setup_teardown(what_is_told_of_others_is_no_matter, set_up_and_serve,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
