/* The agent as seen by the supervisor: it may die, lie and send rubbish, and nothing else suffers.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lingering.h"
#include "rig.h"

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void check_works(struct rig *rig) {
    int store;
    uint64_t job = rig_shell(rig, "echo works", (struct link_spawn){0});
    rig_started(rig, job, &store);
    assert_int_equal(rig_exited(rig, job).wait_status, 0);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, "works\n");
    free(text);
    close(store);
    rig_ref(rig, LINK_FORGET, job);
}

/* Nothing but connections is lost: running and exited jobs come back with pid, status, output and
 * facts. */
static void test_jobs_survive_the_agent(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    const char *argv[] = {"/bin/sh", "-c", "echo before; sleep 0.5; echo after; exit 6", NULL};
    uint64_t running = rig_spawn(&rig, &(struct rig_job){.argv = argv, .facts = "what it is"});
    struct link_spawned spawned = rig_started(&rig, running, NULL);
    uint64_t over =
        rig_shell(&rig, "echo done; exit 5", (struct link_spawn){.flags = LINK_SPAWN_FOREGROUND});
    rig_started(&rig, over, NULL);
    struct link_result told = rig_exited(&rig, over);

    int64_t killed = now_ms();
    kill(rig.agent, SIGKILL);
    rig_next_agent(&rig, true);
    assert_true(now_ms() - killed < 5000);
    assert_int_equal(rig.hello.restarts, 1);
    int store;
    struct link_job job = rig_expect(&rig, LINK_JOB, running, &store).job;
    assert_int_equal(job.pid, spawned.pid);
    assert_false(job.exited);
    assert_true(job.started_at == spawned.started_at);
    const struct store_head *head = mmap(NULL, 200 << 10, PROT_READ, MAP_SHARED, store, 0);
    assert_ptr_not_equal(head, MAP_FAILED);
    assert_int_equal(head->facts_len, 10);
    assert_memory_equal((const char *)head + head->facts_at, "what it is", 10);

    job = rig_expect(&rig, LINK_JOB, over, NULL).job;
    assert_true(job.exited);
    assert_int_equal(job.flags, LINK_SPAWN_FOREGROUND);
    assert_memory_equal(&job.result, &told, sizeof told);
    rig_expect(&rig, LINK_JOBS_END, 0, NULL);

    assert_int_equal(WEXITSTATUS(rig_exited(&rig, running).wait_status), 6);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, "before\nafter\n");
    free(text);
    munmap((void *)(uintptr_t)head, 200 << 10);
    close(store);
    check_works(&rig);
    assert_int_equal(rig_stop(&rig), 0);
}

/* What ends while no agent is there is told to the next; deadlines hold meanwhile. */
static void test_ends_without_an_agent(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    uint64_t job =
        rig_shell(&rig, "sleep 100", (struct link_spawn){.timeout_ms = 300, .grace_ms = 100});
    rig_started(&rig, job, NULL);
    kill(rig.agent, SIGSTOP);              /* there, but deaf */
    rig_send(&rig, "rubbish", 7, NULL, 0); /* for this it is replaced */
    rig_next_agent(&rig, true);
    struct link_job table = rig_expect(&rig, LINK_JOB, job, NULL).job;
    rig_expect(&rig, LINK_JOBS_END, 0, NULL);
    struct link_result result = table.exited ? table.result : rig_exited(&rig, job);
    assert_int_equal(result.reason, LINK_REASON_TIMED_OUT);
    assert_int_equal(rig_stop(&rig), 0);
}

/* A start that is under way when the agent dies is told to the next one as a job. */
static void test_start_across_agents(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    for (int i = 0; i < 10; i++) {
        uint64_t job = rig_shell(&rig, "sleep 100", (struct link_spawn){0});
        kill(rig.agent, SIGKILL);
        rig_next_agent(&rig, true);
        rig_expect(&rig, LINK_JOBS_END, 0, NULL);
        rig_inherited(&rig, job, NULL);
        struct link_serving serving = {.h = {LINK_SERVING, sizeof serving}};
        rig_send(&rig, &serving, sizeof serving, NULL, 0);
        rig_signal(&rig, job, SIGKILL, LINK_SCOPE_TREE);
        rig_exited(&rig, job);
        rig_ref(&rig, LINK_FORGET, job);
    }
    assert_int_equal(rig_stop(&rig), 0);
}

/* One that dies before it served is started again, ever more slowly; one that served at once. */
static void test_back_off(void **state) {
    char crash[] = "/tmp/guestd-crash-XXXXXX", variable[64];
    close(mkstemp(crash));
    snprintf(variable, sizeof variable, "RIG_CRASH=%s", crash);
    unlink(crash);
    struct rig rig;
    rig_start(&rig, &(struct rig_options){.env = {variable}});
    close(open(crash, O_CREAT | O_WRONLY, 0600));
    kill(rig.agent, SIGKILL);
    usleep(700000); /* 0, 10, 20, 40 … ms apart: about 7 starts */
    unlink(crash);
    rig_next_agent(&rig, false);
    assert_in_range(rig.hello.restarts, 3, 9);
    check_works(&rig);
    assert_int_equal(rig_stop(&rig), 0);
}

/* Specs that are said to come with the order: none, one byte too many, and one more as a file. */
static void refuse_specs(struct rig *rig) {
    int file = memfd_create("spec", MFD_CLOEXEC);
    static const size_t lengths[] = {0, LINK_SPEC_HERE_MAX + 1, sizeof(struct link_spec)};
    for (unsigned i = 0; i < 3; i++) {
        struct {
            struct link_spawn head;
            char spec[LINK_SPEC_HERE_MAX + 1];
        } message = {.head = {.job = 78,
                              .flags = LINK_SPAWN_SPEC_HERE,
                              .store = {{.size = 4096}, {.size = 4096}}}};
        size_t size = sizeof message.head + lengths[i];
        message.head.h = (struct link_header){LINK_SPAWN, (uint32_t)size};
        rig_send(rig, &message, size, &file, i == 2);
        rig_next_agent(rig, false);
    }
    close(file);
}

/* Each message of the link cut short, too long, with fds nobody asked for, and plain noise: the
 * agent is replaced, the supervisor stays, and so does the job that runs all the while. */
static void test_rubbish(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    uint64_t witness = rig_shell(&rig, "sleep 100", (struct link_spawn){0});
    struct link_spawned spawned = rig_started(&rig, witness, NULL);
    static const struct {
        uint32_t type;
        size_t size;
    } orders[] = {
        {LINK_SERVING, sizeof(struct link_serving)},
        {LINK_PONG, sizeof(struct link_header)},
        {LINK_SPAWN, sizeof(struct link_spawn)},
        {LINK_LOOK, sizeof(struct link_look)},
        {LINK_DETACH, sizeof(struct link_job_ref)},
        {LINK_SIGNAL, sizeof(struct link_signal)},
        {LINK_CANCEL, sizeof(struct link_job_ref)},
        {LINK_FORGET, sizeof(struct link_job_ref)},
        {LINK_POWER, sizeof(struct link_power)},
        {LINK_HELLO, sizeof(struct link_hello)},
        {0, 8},
        {~0u, 64},
    };
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC),
        many[8] = {null, null, null, null, null, null, null, null};
    for (unsigned i = 0; i < sizeof orders / sizeof *orders; i++) {
        for (int how = 0; how < 4; how++) {
            char bytes[8192];
            memset(bytes, 0, sizeof bytes);
            size_t size = orders[i].size;
            struct link_header header = {orders[i].type, (uint32_t)size};
            size_t sent = how == 0   ? size - 1
                          : how == 1 ? size + 1
                          : how == 2 ? sizeof bytes
                                     : size;
            memcpy(bytes, &header, sizeof header);
            if (how == 1)
                ((struct link_header *)(void *)bytes)->size++;
            rig_send(&rig, bytes, sent, many, how == 3 ? 8 : 0);
            rig_next_agent(&rig, false);
        }
    }
    refuse_specs(&rig);
    close(null);
    check_works(&rig);
    assert_true(rig_alive(spawned.pid));
    assert_int_equal(rig_stop(&rig), 0);
}

static uint64_t any(void) {
    static const uint64_t edges[] = {0,          1,          2,          4096,       65536,
                                     1ull << 31, 1ull << 32, 1ull << 63, UINT64_MAX, INT64_MAX};
    return random() % 3 == 0 ? (uint64_t)random() << 32 ^ (uint64_t)random() : edges[random() % 10];
}

static void send_with_file(struct rig *rig, struct link_spawn order, const char *spec, size_t len) {
    int fd = memfd_create("rubbish", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(write(fd, spec, len) > 0);
    if (random() % 8 != 0)
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
    rig_send(rig, &order, sizeof order, &fd, 1);
    close(fd);
}

static void send_with_bytes(struct rig *rig, struct link_spawn order, const char *spec,
                            size_t len) {
    struct {
        struct link_spawn head;
        char spec[200];
    } message = {.head = order};
    message.head.flags |= LINK_SPAWN_SPEC_HERE;
    message.head.h.size += (uint32_t)len;
    memcpy(message.spec, spec, len);
    rig_send(rig, &message, message.head.h.size, NULL, 0);
}

/* Orders of the right shape with random numbers, and specs of random bytes. */
static void test_random_orders(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    srandom(11);
    static const uint32_t refs[] = {LINK_DETACH, LINK_CANCEL, LINK_FORGET};
    uint64_t witness =
        rig_shell(&rig, "sleep 100", (struct link_spawn){.store[0] = {.mode = STORE_BLOCK}});
    struct link_spawned spawned = rig_started(&rig, witness, NULL);
    for (int i = 0; i < 3000; i++) {
        uint64_t job = random() % 2 == 0 ? witness : any();
        if (random() % 4 == 0) {
            struct link_look look = {.h = {LINK_LOOK, sizeof look},
                                     .job = job,
                                     .acked = {any(), any()},
                                     .seen = {any(), any()},
                                     .flags = (uint32_t)any()};
            rig_send(&rig, &look, sizeof look, NULL, 0);
        } else if (random() % 3 == 0) {
            rig_done(&rig,
                     rig_signal(&rig, job == witness ? 99 : job, (int)any(), (uint32_t)any()));
        } else if (random() % 2 == 0) {
            struct link_power power = {.h = {LINK_POWER, sizeof power},
                                       .mode = (uint32_t)(3 + random() % 100),
                                       .grace_ms = (uint32_t)any()};
            rig_send(&rig, &power, sizeof power, NULL, 0);
            assert_int_equal(rig_expect(&rig, LINK_DONE, 0, NULL).done.err, EINVAL);
        } else if (job != witness) {
            rig_ref(&rig, refs[random() % 3], job);
        }
    }
    for (int i = 0; i < 300; i++) {
        struct link_spawn order = {.h = {LINK_SPAWN, sizeof order},
                                   .job = 1000u + (unsigned)i,
                                   .flags = (uint32_t)any() & 0x1e,
                                   .uid = 0,
                                   .timeout_ms = any()};
        order.store[0].size = order.store[1].size = 4096;
        if (random() % 4 == 0)
            order.store[random() % 2].size = any();
        if (random() % 4 == 0)
            order.store[random() % 2].mode = (uint32_t)any();
        struct link_spec spec = {
            .magic = LINK_SPEC_MAGIC, .argc = 1, .envc = 0, .candidates = 1, .strings = 30};
        char bytes[200];
        memset(bytes, 0, sizeof bytes);
        for (int j = 0; j < 3; j++)
            ((uint32_t *)&spec)[random() % 8] = (uint32_t)any();
        memcpy(bytes, &spec, sizeof spec);
        size_t len = (size_t)(random() % 200) + 1;
        if (i % 2 == 0)
            send_with_file(&rig, order, bytes, len);
        else
            send_with_bytes(&rig, order, bytes, len);
        assert_int_not_equal(rig_expect(&rig, LINK_SPAWNED, order.job, NULL).spawned.err, 0);
    }
    assert_true(rig_alive(spawned.pid));
    check_works(&rig);
    assert_int_equal(rig_stop(&rig), 0);
}

/* A table larger than the link takes at once, and a reader who is late. */
static void test_full_link(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    enum { MANY = 600 };
    uint64_t first = 0;
    for (int i = 0; i < MANY; i++) {
        uint64_t job = rig_shell(&rig, "echo x",
                                 (struct link_spawn){.store = {{.size = 4096}, {.size = 4096}}});
        first = first == 0 ? job : first;
        rig_started(&rig, job, NULL);
        rig_exited(&rig, job);
    }
    kill(rig.agent, SIGKILL);
    rig_next_agent(&rig, true);
    usleep(200000);
    for (int i = 0; i < MANY; i++) {
        int store;
        struct link_job job = rig_expect(&rig, LINK_JOB, first + (unsigned)i, &store).job;
        assert_true(job.exited);
        char *text = rig_output(store, 0, NULL, NULL);
        assert_string_equal(text, "x\n");
        free(text);
        close(store);
    }
    rig_expect(&rig, LINK_JOBS_END, 0, NULL);
    check_works(&rig);
    assert_int_equal(rig_stop(&rig), 0);
}

/* A file that is slow to close holds up nobody: one that was asked for, one too many, one that is
 * still in the link when that is closed. */
static void test_slow_files(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    struct link_spawn order = {
        .h = {LINK_SPAWN, sizeof order}, .job = 77, .store = {{.size = 4096}, {.size = 4096}}};
    for (unsigned i = 0; i < 3; i++) {
        int peer, fd = lingering(&peer), many[3] = {fd, fd, fd};
        kill(rig.supervisor, SIGSTOP);
        if (i == 2)
            rig_send(&rig, "rubbish", 7, NULL, 0);
        rig_send(&rig, &order, sizeof order, many, i == 1 ? 3 : 1);
        close(fd);
        kill(rig.supervisor, SIGCONT);
        rig_next_agent(&rig, false);
        check_works(&rig);
        close(peer);
    }
    assert_int_equal(rig_stop(&rig), 0);
}

/* What a message counts that the rig has no name for. */
static uint64_t next_count(struct rig *rig) {
    union rig_message message = rig_expect(rig, LINK_COUNTS, 0, NULL);
    struct link_counts counts;
    memcpy(&counts, &message, sizeof counts);
    return counts.reaped_orphans;
}

/* Whoever leaves orphans faster than they are buried keeps the supervisor from nothing else: it
 * takes some of them a turn, and all in the end. */
static void test_a_mass_grave(void **state) {
    enum { ORPHANS = 300 };
    char folder[] = "/tmp/guestd-graves-XXXXXX", script[256], dug[64];
    assert_non_null(mkdtemp(folder));
    snprintf(dug, sizeof dug, "%s/dug", folder);
    snprintf(script, sizeof script,
             "until [ -e %s/dig ]; do sleep 0.01; done\n"
             "i=0; while [ $i -lt %d ]; do (: &); i=$((i+1)); done; : > %s; sleep 100",
             folder, ORPHANS, dug);
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    struct link_serving serving = {.h = {LINK_SERVING, sizeof serving}, .connections = 1};
    rig_send(&rig, &serving, sizeof serving, NULL, 0);
    uint64_t before = next_count(&rig), now;
    uint64_t job = rig_shell(&rig, script, (struct link_spawn){0});
    rig_started(&rig, job, NULL);

    kill(rig.supervisor, SIGSTOP);
    char dig[64];
    snprintf(dig, sizeof dig, "%s/dig", folder);
    close(open(dig, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    rig_until(access(dug, F_OK) == 0);
    kill(rig.supervisor, SIGCONT);
    assert_in_range(next_count(&rig) - before, 1, ORPHANS / 2);
    do
        now = next_count(&rig);
    while (now - before < ORPHANS);
    assert_int_equal(now - before, ORPHANS);
    assert_int_equal(rig_stop(&rig), 0);
    unlink(dig);
    unlink(dug);
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs_survive_the_agent),
        cmocka_unit_test(test_ends_without_an_agent),
        cmocka_unit_test(test_start_across_agents),
        cmocka_unit_test(test_back_off),
        cmocka_unit_test(test_rubbish),
        cmocka_unit_test(test_random_orders),
        cmocka_unit_test(test_full_link),
        cmocka_unit_test(test_slow_files),
        cmocka_unit_test(test_a_mass_grave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
