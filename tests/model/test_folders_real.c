/* Real models laid out anew as folders of safetensors, plain and as mlx_lm converts them: what they
 * answer is what mlx-lm answers, place by place, but where it is nearly undecided itself. The
 * folders and the golden file are made by scripts/golden/real_folders.py; argument: the folder. */
#include "stack.h"

#include "support/test_models.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Where another token than mlx-lm's is likeliest here, there mlx-lm's own is at most so many nat
 * likelier than ours, and such places are this rare. mlx-lm computes in float32; here activations
 * are rounded to 8 bits before each product with packed numbers, and none with plain ones. */
static const double gap_allowed = 0.2, share_allowed = 0.08;

enum { MAX_TOKENS = 512 };

static const char *folder_name;
static struct stack stack;

static uint32_t copy_tokens(const json_t *list, int32_t *out, uint32_t n)
{
    assert_true(n + json_array_size(list) <= MAX_TOKENS);
    for (size_t i = 0; i < json_array_size(list); i++)
        out[n++] = (int32_t)json_integer_value(json_array_get(list, i));
    return n;
}

static int32_t likeliest(const float *logits)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < stack.n_vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

/* How much likelier mlx-lm's token is to it than ours; more than can be allowed when ours is not
 * among its likeliest. */
static double gap_of(const json_t *others, int32_t token)
{
    size_t i;
    json_t *pair;
    json_array_foreach(others, i, pair) if (json_integer_value(json_array_get(pair, 0)) == token)
        return json_number_value(json_array_get(pair, 1));
    return 99;
}

struct tally {
    uint32_t n_places, n_different, n_prompts, n_equal_prompts;
    double most;
};

static void compare_prompt(const json_t *prompt, struct tally *t)
{
    int32_t tokens[MAX_TOKENS];
    const uint32_t n_prompt = copy_tokens(json_object_get(prompt, "prompt"), tokens, 0);
    const uint32_t n = copy_tokens(json_object_get(prompt, "tokens"), tokens, n_prompt);
    const json_t *others = json_object_get(prompt, "others");
    const uint32_t n_places = n - n_prompt, before = t->n_different;
    assert_true(n_prompt > 0 && n_places >= 4 && json_array_size(others) == n_places);
    float *logits = malloc((size_t)n_places * stack.n_vocab * sizeof *logits);
    assert_non_null(logits);
    stack_compute(&stack, tokens, 0, n_prompt - 1, 256, 0, NULL);
    stack_compute(&stack, tokens, n_prompt - 1, n_places, 1, 0, logits);
    for (uint32_t i = 0; i < n_places; i++) {
        const int32_t ours = likeliest(logits + (size_t)i * stack.n_vocab);
        if (ours == tokens[n_prompt + i])
            continue;
        const double gap = gap_of(json_array_get(others, i), ours);
        t->n_different++;
        t->most = gap > t->most ? gap : t->most;
    }
    free(logits);
    t->n_places += n_places;
    t->n_prompts++;
    t->n_equal_prompts += t->n_different == before;
}

static void answers_are_those_of_mlx_lm(void **state)
{
    (void)state;
    json_error_t err;
    struct tally t = {0};
    size_t i;
    json_t *golden = json_load_file(GOLDEN_DIR "/greedy-folders.json", 0, &err), *prompt;
    if (!golden)
        fail_msg("%s", err.text);
    const json_t *prompts = json_object_get(golden, folder_name);
    assert_true(json_array_size(prompts) >= 2);
    json_array_foreach(prompts, i, prompt) compare_prompt(prompt, &t);
    json_decref(golden);
    print_message("%s: %u of %u answers equal, %u of %u places differ, by at most %.3f nat\n",
                  folder_name, t.n_equal_prompts, t.n_prompts, t.n_different, t.n_places, t.most);
    assert_true(t.most <= gap_allowed);
    assert_true(t.n_different <= share_allowed * t.n_places);
}

int main(int argc, char **argv)
{
    char name[128], path[4096];
    folder_name = argc > 1 ? argv[1] : "smollm2-phi3-4bit";
    snprintf(name, sizeof name, "folders/%s", folder_name);
    if (!test_models_find(path, sizeof path, name)) {
        fprintf(stderr, "scripts/golden/real_folders.py make %s lays it out\n", folder_name);
        return TEST_MODELS_SKIPPED;
    }
    stack_open(&stack, path, 0, getenv("PENSIEVE_TEST_TIER"), MAX_TOKENS);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_those_of_mlx_lm),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    stack_close(&stack);
    return failed;
}
