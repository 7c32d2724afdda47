#!/usr/bin/env python3
"""Tokens per second of OpenVINO GenAI: speed_openvino.py MODEL.gguf THREADS prompt|generate N. Prints JSON.

The prompt is random tokens; its time is that to the first token. Runs in the peer's own Python."""
import json
import sys

import numpy as np
import openvino as ov
import openvino_genai


def main():
    model, threads, kind, n = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    pipeline = openvino_genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads)
    config = openvino_genai.GenerationConfig()
    config.ignore_eos, config.do_sample = True, False

    def run(n_prompt, n_tokens, seed):
        ids = np.random.default_rng(seed).integers(100, 30000, (1, n_prompt)).astype(np.int64)
        config.max_new_tokens = config.min_new_tokens = n_tokens
        inputs = openvino_genai.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids)))
        return pipeline.generate(inputs, config).perf_metrics

    run(32, 2, 1)  # its first run prepares what it keeps
    if kind == "prompt":
        speed = 1000 * n / run(n, 1, 2).get_ttft().mean
    else:
        speed = 1000 / run(8, n, 2).get_tpot().mean
    print("\n" + json.dumps({"speed": speed}))


if __name__ == "__main__":
    main()
