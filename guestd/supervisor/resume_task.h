/* The tasks of resume.c. */
#pragma once

#include <stdint.h>

struct group;
struct resume;
struct saved_item;
struct supervisor;

/* A record that is a task's, or none that this build knows. Errors are in resume->err. */
void resume_task_item(struct resume *resume, struct supervisor *supervisor,
                      const struct saved_item *item);
/* They are all there. */
void resume_tasks_end(struct resume *resume, struct supervisor *supervisor);

/* ── resume.c ── */

/* An fd that came along and that nobody has yet; -1: none, which is an error only where one was
 * named. */
int resume_claim(struct resume *resume, int32_t fd);
/* NULL: no memory. */
struct group *resume_group(struct resume *resume, const struct saved_item *item,
                           uint32_t *ret_flags);
