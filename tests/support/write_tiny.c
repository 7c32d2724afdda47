/* Writes the tiny model (tiny_model.h) with a chat template to a file: write_tiny FILE [NAME]. NAME
 * becomes its general.name. What it says is noise, but always the same noise. */
#include "support/tiny_model.h"

#include <stdio.h>

static void put_template(struct gguf_builder *g)
{
    gguf_builder_string(
        g, "tokenizer.chat_template",
        "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}");
}

int main(int argc, char **argv)
{
    struct tiny_model m;
    if (argc != 2 && argc != 3)
        return 2;
    tiny_model_init_named(&m, "llama", argc > 2 ? argv[2] : "tiny", put_template);
    FILE *file = fopen(argv[1], "wb");
    if (!file || fwrite(m.data, 1, m.size, file) != m.size || fclose(file))
        return 1;
    tiny_model_deinit(&m);
    return 0;
}
