/* Who may talk to a server that trusts its own machine. Pages of foreign web sites may not, neither
 * by a cross-origin request (Origin) nor through a name that they point at loopback (Host, "DNS
 * rebinding"). Pure functions. */
#ifndef PENSIEVE_SERVER_GUARD_H
#define PENSIEVE_SERVER_GUARD_H

#include "base/error.h"

#include <stdbool.h>

/* Lists are "a,b"; NULL: the default. */
struct guard {
    bool is_loopback; /* the server is bound to a loopback address */
    /* Names beside the loopback's own under which it may be reached: "host.docker.internal",
     * "*.lan". Whoever answers for such a name in the client's DNS could point a page of theirs at
     * the server, so there are none by default. */
    const char *hosts;
    /* Origins beside pages of this machine and of the server itself: "https://a.example",
     * "vscode-webview://" followed by "*" for all of a scheme, "null" (files that a browser opened,
     * sandboxed frames: of any page), "*" for all; "apps" for programs that are made like pages
     * (editors, browser extensions), whose schemes no page of the web has; "none". ["apps"] */
    const char *origins;
};

/* USAGE when an item of the lists is none of these. */
bool guard_check(const struct guard *g, struct error *err);

/* host[:port], where host is localhost, a name below it, an address 127.x.x.x or [::1]. */
bool guard_is_loopback_authority(const char *authority);

/* May a request with these headers (NULL: absent) be answered? When not, the sentence that says
 * why. */
const char *guard_refusal(const struct guard *g, const char *host, const char *origin);

#endif
