#!/usr/bin/env python3
"""Tokens per second of xllamacpp (llama.cpp built for AVX2): speed_xllamacpp.py MODEL.gguf THREADS prompt|generate N.
Prints JSON. The prompt is random tokens. Runs in the peer's own Python."""
import json
import random
import sys

import xllamacpp


def main():
    model, threads, kind, n = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx, params.n_parallel, params.n_ubatch = n + 256, 1, 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    server = xllamacpp.Server(params)

    def run(n_prompt, n_tokens, seed):
        words = random.Random(seed)
        return server.handle_completions({
            "prompt": [words.randrange(100, 30000) for _ in range(n_prompt)], "n_predict": n_tokens,
            "ignore_eos": True, "cache_prompt": False, "temperature": 0})["timings"]

    run(32, 2, 1)
    timings = run(n, 1, 2) if kind == "prompt" else run(8, n, 2)
    print("\n" + json.dumps({"speed": timings["prompt_per_second" if kind == "prompt" else "predicted_per_second"]}),
          flush=True)


if __name__ == "__main__":
    main()
