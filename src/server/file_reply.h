/* A reply that is a file, read block by block as its client takes it. */
#ifndef PENSIEVE_SERVER_FILE_REPLY_H
#define PENSIEVE_SERVER_FILE_REPLY_H

#include "server/reply.h"

/* NOT_FOUND when there is no such regular file. The caller has made sure that `path` is one that
 * may be read: it is opened as it is, ".." and all. content_type must outlive the reply. A handler
 * that uses it has HANDLER_WORKS: disks make wait. */
bool file_reply(struct reply *out, const char *path, const char *content_type, struct error *err);

#endif
