/* SHA-256 of a file in bounded memory. */
#include "store/sha256.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHA256_CHUNK_BYTES = 1 << 20 };

static bool sha256_feed(gnutls_hash_hd_t hash, int fd, void *chunk, struct error *err)
{
    for (off_t at = 0;;) {
        ssize_t n = pread(fd, chunk, SHA256_CHUNK_BYTES, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, ERROR_IO, "cannot read: %s", strerror(errno));
        if (!n)
            return true;
        if (gnutls_hash(hash, chunk, (size_t)n) < 0)
            return error_set(err, ERROR_INTERNAL, "the SHA-256 of GnuTLS failed");
        at += n;
    }
}

bool sha256_descriptor(int fd, char hex[65], struct error *err)
{
    gnutls_hash_hd_t hash;
    if (gnutls_hash_init(&hash, GNUTLS_DIG_SHA256) < 0)
        return error_set(err, ERROR_INTERNAL, "GnuTLS offers no SHA-256");
    void *chunk = malloc(SHA256_CHUNK_BYTES);
    bool ok = chunk ? sha256_feed(hash, fd, chunk, err)
                    : error_set(err, ERROR_NO_MEMORY, "out of memory");
    unsigned char digest[32];
    gnutls_hash_deinit(hash, digest);
    free(chunk);
    for (int i = 0; ok && i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return ok;
}
