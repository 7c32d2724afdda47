/* Who may talk to a server that trusts its own machine: pages of foreign web sites may not, neither
 * by a cross-origin request (Origin) nor through a name that they point at loopback (Host). Pure
 * functions. */
#ifndef PENSIEVE_SERVER_GUARD_H
#define PENSIEVE_SERVER_GUARD_H

#include <stdbool.h>

/* host[:port], where host is localhost, an address 127.x.x.x or [::1]. */
bool guard_is_loopback_authority(const char *authority);

/* May a request with these headers (NULL: absent) be answered? On a loopback address Host must be a
 * loopback name; anywhere, Origin must be a loopback page or the server's own (equal to Host). When
 * not, the sentence that says why. */
const char *guard_refusal(const char *host, const char *origin, bool bound_to_loopback);

#endif
