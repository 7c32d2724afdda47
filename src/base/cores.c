/* See cores.h. Linux tells which CPUs share a core; elsewhere only how many CPUs there are. */
#include "base/cores.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#ifdef __linux__
/* The first CPU of the core that `cpu` belongs to, as the system tells, or `cpu` itself. */
static int first_sibling(int cpu)
{
    char path[96];
    int first = cpu;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "r");
    if (f) {
        if (fscanf(f, "%d", &first) != 1)
            first = cpu;
        fclose(f);
    }
    return first;
}

void cores_find(struct cores *cores)
{
    cpu_set_t allowed, found;
    cores->n = 0;
    CPU_ZERO(&found);
    if (!sched_getaffinity(0, sizeof allowed, &allowed))
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, &allowed))
                CPU_SET(first_sibling(cpu), &found);
    for (int cpu = 0; cpu < CPU_SETSIZE && cores->n < CORES_MAX; cpu++)
        if (CPU_ISSET(cpu, &found))
            cores->cpus[cores->n++] = cpu;
    if (!cores->n)
        cores->cpus[cores->n++] = -1;
}

void cores_pin(const struct cores *cores, uint32_t i, pthread_t thread)
{
    int cpu = cores->cpus[i % cores->n];
    cpu_set_t one;
    CPU_ZERO(&one);
    if (cpu < 0)
        return;
    CPU_SET(cpu, &one);
    pthread_setaffinity_np(thread, sizeof one, &one);
}
#else
void cores_find(struct cores *cores)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    cores->n = n < 1 ? 1 : n > CORES_MAX ? CORES_MAX : (uint32_t)n;
    for (uint32_t i = 0; i < cores->n; i++)
        cores->cpus[i] = -1;
}

void cores_pin(const struct cores *cores, uint32_t i, pthread_t thread)
{
    (void)cores;
    (void)i;
    (void)thread;
}
#endif
