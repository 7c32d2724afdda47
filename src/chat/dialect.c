#include "chat/dialect.h"

#include <string.h>

static const struct dialect *const rows[] = {&dialect_hermes, &dialect_tools_marker,
                                             &dialect_mistral};
const struct dialects dialects_known = {rows, sizeof rows / sizeof *rows};

const struct conversation_tool *dialect_tool(const struct dialect_tools *tools, const char *name,
                                             size_t n)
{
    for (size_t i = 0; i < tools->n; i++)
        if (strlen(tools->tools[i].name) == n && !memcmp(tools->tools[i].name, name, n))
            return &tools->tools[i];
    return NULL;
}

static bool is_marker(const char *marker, const char *piece, size_t n)
{
    return marker && strlen(marker) == n && !memcmp(marker, piece, n);
}

bool dialects_are_marked_by(const struct dialects *d, const char *piece, size_t n)
{
    for (size_t i = 0; i < d->n; i++)
        if (is_marker(d->rows[i]->open, piece, n) || is_marker(d->rows[i]->close, piece, n) ||
            is_marker(d->rows[i]->think_open, piece, n) ||
            is_marker(d->rows[i]->think_close, piece, n))
            return true;
    return false;
}

json_t *dialect_describe_tool(const struct conversation_tool *tool)
{
    return json_pack("{s:s, s:{s:s, s:s%, s:O}}", "type", "function", "function", "name",
                     tool->name, "description", tool->description.data, tool->description.n,
                     "parameters", tool->schema);
}
