/* `pensieve --version`: what this binary is and what it runs on. */
#include "cli/commands.h"
#include "cli/options.h"
#include "kernels/kernels.h"
#include "model/model.h"

#include <curl/curl.h>
#include <gnutls/gnutls.h>
#include <jansson.h>
#include <microhttpd.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>
#include <zip.h>

int cli_version(void)
{
    char pcre[64] = "";
    pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    pcre[strcspn(pcre, " ")] = 0;
    printf("pensieve %s\n", PENSIEVE_VERSION);
    printf("cpu        %s (tiers that run here:", kernels_tier_name(kernels_tier_best()));
    for (size_t i = 0; i < kernels_n_tiers(); i++)
        if (kernels_tier_runs(i))
            printf(" %s", kernels_tier_name(i));
    printf(")\nmodels     GGUF v2, v3; architectures");
    for (size_t i = 0; model_architecture(i); i++)
        printf("%s %s", i ? "," : "", model_architecture(i));
    putchar('\n');
    printf("libraries  libmicrohttpd %s, jansson %s, pcre2 %s, utf8proc %s, libcurl %s, gnutls %s, "
           "libzip %s\n",
           MHD_get_version(), JANSSON_VERSION, pcre, utf8proc_version(),
           curl_version_info(CURLVERSION_NOW)->version, gnutls_check_version(NULL),
           zip_libzip_version());
    return CLI_OK;
}
