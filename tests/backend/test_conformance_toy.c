/* The toy conforms. */
#include "backend/conformance.h"

#include "backend/toy/toy.h"

static struct backend *create(const void *context, struct error *err)
{
    (void)context;
    return toy_create(err);
}

int main(void)
{
    return conformance_run(&(struct conformance_subject){"toy", create, NULL}) != 0;
}
