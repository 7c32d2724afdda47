#!/usr/bin/env python3
"""What int8 activations cost, for every weight type: writes bench/results/accuracy.csv and accuracy.md.

    bench/accuracy.py --model Q4_K_M.gguf --llama FOLDER_OF_LLAMA_QUANTIZE [--types Q4_0,Q8_0] [--work FOLDER]

Requantizes the model to each type with llama.cpp's llama-quantize (all matrices: --pure), runs build/bench/accuracy
on bench/accuracy_text.txt, and deletes the file again. A type's two numbers are of the same weights, so the model
that they were requantized from does not matter. Rows of types that are not asked for stay as they are in the table.
Takes about two minutes of one core for each type; --threads 1 and a low priority spare the machine.
"""
import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
TEXT = ROOT / "bench" / "accuracy_text.txt"
LIMIT = 0.5  # per cent
# Our name of a type, and llama-quantize's.
TYPES = {"F32": "F32", "F16": "F16", "BF16": "BF16", "Q8_0": "Q8_0", "Q6_K": "Q6_K", "Q5_K": "Q5_K_S", "Q5_1": "Q5_1",
         "Q5_0": "Q5_0", "Q4_K": "Q4_K_S", "Q4_1": "Q4_1", "Q4_0": "Q4_0", "IQ4_NL": "IQ4_NL", "IQ4_XS": "IQ4_XS",
         "MXFP4": "MXFP4_MOE", "Q3_K": "Q3_K_S", "Q2_K": "Q2_K"}
COLUMNS = ["type", "tokens", "nll_int8", "nll_float", "difference_percent", "kl"]


def measure(args, name):
    """Requantizes, runs, deletes; a row of the table."""
    path = args.work / f"accuracy-{name}.gguf"
    try:
        subprocess.run([args.llama / "llama-quantize", "--allow-requantize", "--pure", args.model, path, TYPES[name],
                        str(args.threads)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        done = subprocess.run([args.program, path, TEXT, str(args.threads)], check=True, capture_output=True, text=True)
    finally:
        path.unlink(missing_ok=True)
    row = json.loads(done.stdout)
    row["type"] = name
    row["difference_percent"] = f"{100 * (row['nll_int8'] - row['nll_float']) / row['nll_float']:+.4f}"
    for key in ("nll_int8", "nll_float", "kl"):
        row[key] = f"{row[key]:.6f}"
    return row


def read_rows(path):
    if not path.exists():
        return {}
    with path.open(newline="") as f:
        return {row["type"]: row for row in csv.DictReader(f)}


def write_rows(rows, model):
    ordered = [rows[name] for name in TYPES if name in rows]
    with (RESULTS / "accuracy.csv").open("w", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)
    lines = [
        "# What int8 activations cost",
        "",
        f"{model} requantized to each type (`llama-quantize --pure`), over the fixed text of",
        "bench/accuracy_text.txt in windows of 512 tokens: the mean negative log-likelihood of the next token (nat)",
        "with our integer products, and with the same weights decoded to float32 and float32 activations; everything",
        "else is the same code. The last column is the mean KL divergence of the two distributions. Written by",
        f"bench/accuracy.py; the difference may be {LIMIT} % at most.",
        "",
        "| type | tokens | int8 | float32 | difference | KL (nat) |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in ordered:
        lines.append(f"| {row['type']} | {row['tokens']} | {row['nll_int8']} | {row['nll_float']} "
                     f"| {row['difference_percent']} % | {row['kl']} |")
    (RESULTS / "accuracy.md").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--llama", type=Path, required=True, help="folder of llama-quantize")
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--work", type=Path, default=Path("/tmp"), help="where the requantized file goes")
    parser.add_argument("--program", type=Path, default=ROOT / "build" / "bench" / "accuracy")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    unknown = set(args.types.split(",")) - set(TYPES)
    if unknown:
        parser.error(f"unknown types: {', '.join(sorted(unknown))}")

    rows = read_rows(RESULTS / "accuracy.csv")
    failed = []
    for name in args.types.split(","):
        rows[name] = measure(args, name)
        print(json.dumps(rows[name]), flush=True)
        write_rows(rows, args.model.stem)
        if abs(float(rows[name]["difference_percent"])) > LIMIT:
            failed.append(name)
    if failed:
        sys.exit(f"more than {LIMIT} %: {', '.join(failed)}")


if __name__ == "__main__":
    main()
