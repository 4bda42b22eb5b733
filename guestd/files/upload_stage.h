/*
 * The steps of an upload that touch directories: making the staged file, and giving it its place.
 * Private to this room.
 */
#pragma once

#include "files/upload.h"

/* Makes the staged file in the place's directory. Returns 0 or -errno. */
int upload_stage(struct upload *upload);

/* True for an error after which writing in place is worth a try: the directory doesn't take new
 * files. */
bool upload_can_not_stage(int err);

/*
 * Gives the staged file owner, mode and name. Returns 0, FILES_NOT_REGULAR, FILES_NOT_OWNER,
 * -errno. When `*ret_in_place` the name can't be taken but the file behind it can be written.
 */
int upload_publish(struct upload *upload, bool *ret_in_place);

/* Opens the file itself for writing in place: emptied, at its end, or at `off`, by the request's
 * way. Sets upload->fd. */
int upload_open_in_place(struct upload *upload);

/* Runs as the request's user until upload_as_self. Returns 0 or -EPERM. */
int upload_as_user(const struct upload *upload);
void upload_as_self(const struct upload *upload);
