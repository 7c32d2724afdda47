/* What the command line, the environment and files say of a struct loaded_options: see loaded.h. */
#include "cli/loaded.h"

/* clang-format off */
#define LOADED_VALUE(kind, member) SETTING_VALUE(kind, struct loaded_options, member)
#define LOADED_SAMPLING(kind, member)                                                              \
    SETTING_VALUE(kind, struct loaded_options, sampling.member),                                   \
    SETTING_SOURCE(struct loaded_options, from.member)
/* clang-format on */

static const struct setting compute_rows[] = {
    {.name = "threads",
     .letter = 't',
     LOADED_VALUE(UINT, n_threads),
     .min = 1,
     .max = 1024,
     .metavar = "N",
     .help = "threads that compute (default: the physical cores)"},
    {.name = "cpu",
     LOADED_VALUE(TEXT, cpu),
     SETTING_SOURCE(struct loaded_options, from.cpu),
     .metavar = "TIER",
     .environment = "PENSIEVE_CPU",
     .help = "instruction set to use (default: $PENSIEVE_CPU, else the\nbest this CPU has; see "
             "pensieve --version)"},
    {.name = "pin",
     LOADED_VALUE(FLAG, pin),
     .help = "keep each thread on a core of its own; for a machine that\ndoes nothing else"},
};
const struct setting_table loaded_compute_settings = SETTING_TABLE(compute_rows);

static const struct setting sampling_rows[] = {
    {.name = "ctx",
     .letter = 'c',
     LOADED_VALUE(UINT, n_ctx),
     .min = 16,
     .max = 1 << 24,
     .metavar = "N",
     .help = "context in tokens (default: what the model was made for)"},
    {.name = "temperature",
     LOADED_SAMPLING(FLOAT, temperature),
     .max = 5,
     .metavar = "T",
     .help = "0 is greedy (default: the model's recommendation)"},
    {.name = "top-p",
     LOADED_SAMPLING(FLOAT, top_p),
     .max = 1,
     .metavar = "P",
     .help = "keep the likeliest tokens that sum to P"},
    {.name = "top-k",
     LOADED_SAMPLING(UINT, top_k),
     .max = 1 << 24,
     .metavar = "K",
     .help = "keep the K likeliest tokens; 0: all"},
    {.name = "min-p",
     LOADED_SAMPLING(FLOAT, min_p),
     .max = 1,
     .metavar = "P",
     .help = "keep tokens at least P times as likely as the likeliest"},
    {.name = "repeat-penalty",
     LOADED_SAMPLING(FLOAT, repeat_penalty),
     .max = 10,
     .metavar = "X",
     .help = "divide the logits of the last 64 tokens by X; 1: off"},
    {.name = "frequency-penalty",
     LOADED_SAMPLING(FLOAT, frequency_penalty),
     .min = -10,
     .max = 10,
     .metavar = "X",
     .help = "lower them by X for each time they stand there; 0: off"},
    {.name = "presence-penalty",
     LOADED_SAMPLING(FLOAT, presence_penalty),
     .min = -10,
     .max = 10,
     .metavar = "X",
     .help = "lower them by X; 0: off"},
    {.name = "seed",
     LOADED_SAMPLING(UINT64, seed),
     .metavar = "N",
     .help = "the same answer each time (default: drawn anew)"},
    {.name = "template-vars",
     LOADED_VALUE(TEXT, template_vars),
     .metavar = "JSON",
     .help = "variables of the model's chat template, like\n'{\"enable_thinking\": false}'; see "
             "docs/templates.md"},
};
const struct setting_table loaded_sampling_settings = SETTING_TABLE(sampling_rows);

static const char *const kv_types[] = {
    [BACKEND_KV_F16] = "f16", [BACKEND_KV_Q8_0] = "q8_0", [BACKEND_KV_Q4_0] = "q4_0", NULL};

static const struct setting kv_type_rows[] = {
    {.name = "kv-type",
     LOADED_VALUE(CHOICE, kv_type),
     .choices = kv_types,
     .fallback = "f16",
     .metavar = "TYPE",
     .help = "of keys and values: {choices} (default: {default})"},
};
const struct setting_table loaded_kv_type_settings = SETTING_TABLE(kv_type_rows);

static const struct setting kv_rows[] = {
    {.name = "kv-memory",
     LOADED_VALUE(SIZE, kv_memory),
     .metavar = "SIZE",
     .help = "memory for keys and values of all conversations, like 4G\n(default: four contexts, "
             "but a quarter of the memory at most)"},
    {.name = "no-lookup",
     LOADED_VALUE(FLAG, never_guesses),
     .help = "do not guess tokens from what was said before; guessing\nchanges nothing but the "
             "time"},
};
const struct setting_table loaded_kv_settings = SETTING_TABLE(kv_rows);

static const struct setting kv_disk_rows[] = {
    {.name = "kv-disk",
     LOADED_VALUE(SIZE, kv_disk),
     SETTING_SOURCE(struct loaded_options, from.kv_disk),
     .metavar = "SIZE",
     .help = "disk for what has been computed, so that a restart does not\nbegin anew; 0: none "
             "(default: 8G or a tenth of the free disk)"},
};
const struct setting_table loaded_kv_disk_settings = SETTING_TABLE(kv_disk_rows);
