/* make_model: a model file of the exact shape of a real model with random weights, for measuring
 * speed and memory where the weights themselves are out of reach. */
#include "quant/quant.h"
#include "random_weights.h"
#include "write_model.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void print_usage(FILE *out)
{
    fprintf(
        out,
        "usage: make_model --shape SHAPE [options] OUT\n\n"
        "Writes a GGUF file, or with --mlx a folder, of SHAPE's tensors with random weights.\n\n"
        "  --shape SHAPE   one of:");
    for (size_t i = 0; model_shape_at(i); i++)
        fprintf(out, " %s", model_shape_at(i)->name);
    fprintf(out, "\n"
                 "  --type TYPE     of the matrices: Q4_0, Q8_0, Q4_K, F16, ... (default: Q4_0)\n"
                 "  --pure          the output matrix, too\n"
                 "  --layers N      fewer or more layers than the model has\n"
                 "  --mlx           config.json and model.safetensors, quantized as MLX does\n"
                 "  --group N       --mlx: 32, 64 or 128 elements (default: 64)\n"
                 "  --bits N        --mlx: 4 or 8 (default: 4)\n"
                 "  --bf16          --mlx: bfloat16 scales (default: float16)\n"
                 "  --seed N        other weights (default: 1)\n");
}

struct command_line {
    struct model_shape shape;
    struct write_model_options options;
    const char *path;
    bool is_mlx;
};

static bool fail(const char *what, const char *value)
{
    fprintf(stderr, "make_model: %s%s%s (see --help)\n", what, value ? ": " : "",
            value ? value : "");
    return false;
}

static bool parse_number(const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
    char *end;
    *out = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && *out >= least && *out <= most;
}

static bool set_option(struct command_line *c, int option, const char *value)
{
    uint64_t n = 0;
    int type;
    switch (option) {
    case 's':
        if (!model_shape_find(value))
            return fail("unknown shape", value);
        c->shape = *model_shape_find(value);
        return true;
    case 't':
        type = random_weights_type(value);
        c->options.type = (uint32_t)type;
        return type >= 0 || fail("unknown type", value);
    case 'g':
        c->options.group = parse_number(value, 32, 128, &n) ? (uint32_t)n : 0;
        return (n & (n - 1)) == 0 && c->options.group ? true : fail("no group size", value);
    case 'b':
        c->options.bits = parse_number(value, 4, 8, &n) ? (uint32_t)n : 0;
        return n == 4 || n == 8 || fail("--bits is 4 or 8, not", value);
    case 'r':
        return parse_number(value, 0, UINT64_MAX, &c->options.seed) || fail("no number", value);
    case 'm':
        return c->is_mlx = true;
    case 'h':
        return c->options.is_bf16 = true;
    case 'p':
        return c->options.is_pure = true;
    default:
        return fail("wrong usage", NULL);
    }
}

static bool parse(int argc, char **argv, struct command_line *c)
{
    static const struct option longs[] = {
        {"shape", 1, 0, 's'},
        {"type", 1, 0, 't'},
        {"layers", 1, 0, 'l'},
        {"mlx", 0, 0, 'm'},
        {"group", 1, 0, 'g'},
        {"bits", 1, 0, 'b'},
        {"bf16", 0, 0, 'h'},
        {"seed", 1, 0, 'r'},
        {"pure", 0, 0, 'p'},
        {"help", 0, 0, '?'},
        {0},
    };
    uint64_t n_layers = 0;
    for (int option; (option = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (option == '?') {
            print_usage(optopt ? stderr : stdout);
            exit(optopt ? 2 : 0);
        }
        if (option == 'l' && !parse_number(optarg, 1, 1000, &n_layers))
            return fail("no number of layers", optarg);
        if (option != 'l' && !set_option(c, option, optarg))
            return false;
    }
    if (!c->shape.name)
        return fail("which --shape?", NULL);
    if (n_layers)
        c->shape.n_layers = (uint32_t)n_layers;
    if (optind + 1 != argc)
        return fail("which file?", NULL);
    c->path = argv[optind];
    return true;
}

int main(int argc, char **argv)
{
    struct command_line c = {
        .options = {.type = QUANT_Q4_0, .group = 64, .bits = 4, .seed = 1},
    };
    struct error err = {0};
    if (!parse(argc, argv, &c))
        return 2;
    bool ok = c.is_mlx ? write_mlx(&c.shape, &c.options, c.path, &err)
                       : write_gguf(&c.shape, &c.options, c.path, &err);
    if (!ok)
        fprintf(stderr, "make_model: %s\n", err.message);
    return !ok;
}
