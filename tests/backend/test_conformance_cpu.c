/* The CPU backend conforms, on every tier that this machine runs. Argument: one tier, or none. */
#include "backend/conformance.h"

#include "backend/cpu/cpu.h"
#include "kernels/kernels.h"

#include <stdio.h>
#include <string.h>

static struct backend *create(const void *options, struct error *err)
{
    return backend_cpu_create(options, err);
}

int main(int argc, char **argv)
{
    int n_failed = 0;
    for (size_t tier = 0; tier < kernels_n_tiers(); tier++) {
        const char *name = kernels_tier_name(tier);
        if (!kernels_tier_runs(tier) || (argc > 1 && strcmp(argv[1], name) != 0))
            continue;
        for (uint32_t n_threads = tier ? 1 : 3; n_threads <= 3; n_threads += 2) {
            char what[64];
            snprintf(what, sizeof what, "cpu, tier %s, %u threads", name, n_threads);
            const struct backend_cpu_options options = {.n_threads = n_threads, .tier = name};
            n_failed += conformance_run(
                &(struct conformance_subject){what, create, &options});
        }
    }
    return n_failed != 0;
}
