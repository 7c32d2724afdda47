#!/usr/bin/env python3
"""What other work on the machine costs: prompt and generation alone and beside busy processes, in turns.

    bench/busy.py --model MODEL.gguf [--pensieve build/pensieve] [--burners 2] [--threads 2] [--rounds 3] [--cpu TIER]

Burners are processes that only count; with as many of them as cores, half the speed is our fair share. Prints
medians and the share that is left. A share far below the fair one is a defect: threads that wait by spinning burn
time that the scheduler then takes from the threads that work.
"""
import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def measure(options):
    command = [options.pensieve, "bench", options.model, "-t", str(options.threads), "-p", str(options.prompt), "-n",
               str(options.generate), "-r", "1", "--json"] + (["--cpu", options.cpu] if options.cpu else [])
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    return {r["test"]: r["tokens_per_second"] for r in json.loads(done.stdout)["results"]}


def measure_beside(options):
    burners = []
    try:
        for _ in range(options.burners):
            burners.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
        return measure(options)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--pensieve", default=str(ROOT / "build" / "pensieve"))
    parser.add_argument("--cpu", help="kernel tier")
    for name, default in (("burners", 2), ("threads", 2), ("rounds", 3), ("prompt", 512), ("generate", 64)):
        parser.add_argument("--" + name, type=int, default=default)
    options = parser.parse_args()
    alone, beside = [], []
    for _ in range(options.rounds):
        alone.append(measure(options))
        beside.append(measure_beside(options))
    print(f"{'':10} {'alone':>10} {'beside ' + str(options.burners):>10} {'share':>7}")
    for test in alone[0]:
        a, b = (statistics.median(run[test] for run in runs) for runs in (alone, beside))
        print(f"{test:10} {a:10.1f} {b:10.1f} {b / a:7.0%}")


if __name__ == "__main__":
    main()
