/* SHA-256 of a file, by GnuTLS. Knows no models. */
#ifndef PENSIEVE_STORE_SHA256_H
#define PENSIEVE_STORE_SHA256_H

#include "base/error.h"

/* Hashes the file from its start; the descriptor's offset is not used. hex gets 64 digits and '\0'.
 */
bool sha256_descriptor(int fd, char hex[65], struct error *err);

#endif
