/* Tools and the choice among them: the client's own, and Anthropic's typed client tools, whose
 * schemas only their documentation tells. Tools that run in a cloud are refused by name. */
#include "claude/request_parse.h"

#include <string.h>

struct typed_tool {
    const char *type; /* without its date */
    const char *description, *schema;
};

/* From Anthropic's documentation of the bash, text editor and memory tools. */
static const struct typed_tool typed_tools[] = {
    {"bash_",
     "Runs a command in a bash shell that keeps its state between calls, and returns its output.",
     "{\"type\":\"object\",\"properties\":{"
     "\"command\":{\"type\":\"string\",\"description\":\"The command to run.\"},"
     "\"restart\":{\"type\":\"boolean\",\"description\":\"True restarts the shell.\"}}}"},
    {"text_editor_",
     "Views, creates and edits files. `view` shows a file or folder, `create` writes a whole file, "
     "`str_replace` replaces a text that occurs once, `insert` puts text after a line.",
     "{\"type\":\"object\",\"properties\":{"
     "\"command\":{\"type\":\"string\",\"enum\":[\"view\",\"create\",\"str_replace\",\"insert\"]},"
     "\"path\":{\"type\":\"string\",\"description\":\"Absolute path of the file or folder.\"},"
     "\"view_range\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"},"
     "\"description\":\"First and last line to view; -1 is the end.\"},"
     "\"file_text\":{\"type\":\"string\",\"description\":\"For create: the file's content.\"},"
     "\"old_str\":{\"type\":\"string\",\"description\":\"For str_replace: the text to replace.\"},"
     "\"new_str\":{\"type\":\"string\",\"description\":\"For str_replace: the new text.\"},"
     "\"insert_line\":{\"type\":\"integer\",\"description\":\"For insert: the line before it.\"},"
     "\"insert_text\":{\"type\":\"string\",\"description\":\"For insert: the text.\"}},"
     "\"required\":[\"command\",\"path\"]}"},
    {"memory_", "Keeps files of notes under /memories between conversations.",
     "{\"type\":\"object\",\"properties\":{"
     "\"command\":{\"type\":\"string\",\"enum\":[\"view\",\"create\",\"str_replace\",\"insert\","
     "\"delete\",\"rename\"]},"
     "\"path\":{\"type\":\"string\"},"
     "\"view_range\":{\"type\":\"array\",\"items\":{\"type\":\"integer\"}},"
     "\"file_text\":{\"type\":\"string\"},\"old_str\":{\"type\":\"string\"},"
     "\"new_str\":{\"type\":\"string\"},\"insert_line\":{\"type\":\"integer\"},"
     "\"insert_text\":{\"type\":\"string\"},\"old_path\":{\"type\":\"string\"},"
     "\"new_path\":{\"type\":\"string\"}},\"required\":[\"command\"]}"},
};

/* Anthropic's: run on their servers. */
static const char *const server_tools[] = {
    "web_search_", "web_fetch_", "code_execution_", "tool_search_tool_", "mcp_toolset", "advisor_",
};

static bool has_prefix(const char *text, const char *prefix)
{
    return !strncmp(text, prefix, strlen(prefix));
}

static bool parse_typed(struct conversation_tool *tool, const char *type, const char *path,
                        struct error *err)
{
    for (size_t i = 0; i < sizeof typed_tools / sizeof *typed_tools; i++) {
        if (!has_prefix(type, typed_tools[i].type))
            continue;
        tool->description = (struct conversation_text){typed_tools[i].description,
                                                       strlen(typed_tools[i].description)};
        tool->schema = json_loads(typed_tools[i].schema, 0, NULL);
        return tool->schema || request_no_memory(err);
    }
    for (size_t i = 0; i < sizeof server_tools / sizeof *server_tools; i++)
        if (has_prefix(type, server_tools[i]))
            return request_refuse(err, path, "type",
                                  "'%.64s' is a server tool that runs in Anthropic's cloud; this "
                                  "server has none",
                                  type);
    return request_refuse(err, path, "type",
                          "a tool of type '%.64s' is not supported by this server", type);
}

/* $schema says nothing to a model, and costs tokens in each tool. */
static bool take_schema(struct conversation_tool *tool, json_t *schema, const char *path,
                        struct error *err)
{
    json_t *type = json_object_get(schema, "type");
    if (!json_is_object(schema))
        return request_refuse(err, path, "input_schema",
                              schema ? "Input should be an object" : "Field required");
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "object")))
        return request_refuse(err, path, "input_schema.type", "Input should be 'object'");
    if (!json_object_get(schema, "$schema")) {
        tool->schema = json_incref(schema);
        return true;
    }
    tool->schema = json_copy(schema);
    if (!tool->schema)
        return request_no_memory(err);
    json_object_del(tool->schema, "$schema");
    return true;
}

static bool check_name(const char *name, const char *path, struct error *err)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return (!name[n] && n <= REQUEST_MAX_NAME_BYTES) ||
           request_refuse(err, path, "name", "String should match pattern '^[a-zA-Z0-9_-]{1,%d}$'",
                          REQUEST_MAX_NAME_BYTES);
}

static bool parse_description(struct conversation_tool *tool, json_t *value, const char *path,
                              struct error *err)
{
    tool->description = (struct conversation_text){"", 0};
    return !request_member(value, "description") ||
           request_text_of(value, path, "description", &tool->description, err);
}

static bool parse_tool(struct request *r, json_t *value, const char *path, struct error *err)
{
    struct conversation_tool *tool = &r->conversation.tools[r->conversation.n_tools];
    const char *type = "custom";
    if (!json_is_object(value))
        return request_refuse(err, path, NULL, "Input should be an object");
    if (request_member(value, "type") && !request_string(value, path, "type", &type, err))
        return false;
    if (strcmp(type, "custom")) {
        if (!parse_typed(tool, type, path, err))
            return false;
    } else if (!parse_description(tool, value, path, err) ||
               !take_schema(tool, json_object_get(value, "input_schema"), path, err)) {
        return false;
    }
    bool ok =
        request_string(value, path, "name", &tool->name, err) && check_name(tool->name, path, err);
    if (ok && conversation_find_tool(&r->conversation, tool->name))
        ok = request_refuse(err, "tools", NULL, "Tool names must be unique: %.64s", tool->name);
    if (ok)
        r->conversation.n_tools++; /* its schema is released with the request */
    else
        json_decref(tool->schema);
    return ok;
}

bool request_parse_tools(struct request *r, json_t *value, struct error *err)
{
    size_t i;
    json_t *tool;
    if (!value)
        return true;
    if (!json_is_array(value))
        return request_refuse(err, "tools", NULL, "Input should be a valid list");
    if (json_array_size(value) > REQUEST_MAX_TOOLS)
        return request_refuse(err, "tools", NULL, "List should have at most %d items",
                              REQUEST_MAX_TOOLS);
    r->conversation.tools =
        arena_array(&r->conversation.arena, json_array_size(value), sizeof *r->conversation.tools);
    if (json_array_size(value) && !r->conversation.tools)
        return request_no_memory(err);
    json_array_foreach(value, i, tool)
    {
        struct request_path path = request_path_index("", "tools", i);
        if (!parse_tool(r, tool, path.text, err))
            return false;
    }
    return true;
}

static bool choose_tool(struct request *r, json_t *value, struct error *err)
{
    const char *name;
    if (!request_string(value, "tool_choice", "name", &name, err))
        return false;
    r->conversation.chosen = conversation_find_tool(&r->conversation, name);
    return r->conversation.chosen ||
           request_refuse(err, "tool_choice", "name", "Tool '%.64s' not found in provided tools",
                          name);
}

bool request_parse_choice(struct request *r, json_t *value, struct error *err)
{
    static const char *const types[] = {"auto", "any", "tool", "none"};
    const char *type;
    int choice = 0;
    if (!value)
        return true;
    if (!json_is_object(value))
        return request_refuse(err, "tool_choice", NULL, "Input should be an object");
    if (!request_string(value, "tool_choice", "type", &type, err) ||
        !request_bool(value, "tool_choice", "disable_parallel_tool_use", &r->conversation.one_call,
                      err))
        return false;
    while (choice < 4 && strcmp(types[choice], type))
        choice++;
    if (choice == 4)
        return request_refuse(err, "tool_choice", "type",
                              "Input should be 'auto', 'any', 'tool' or 'none'");
    r->conversation.choice = (enum conversation_choice)choice;
    if ((choice == CONVERSATION_CHOICE_ANY || choice == CONVERSATION_CHOICE_TOOL) &&
        !r->conversation.n_tools)
        return request_refuse(err, "tool_choice", NULL,
                              "tool_choice may only be specified while providing tools");
    return choice != CONVERSATION_CHOICE_TOOL || choose_tool(r, value, err);
}
