#!/usr/bin/env python3
"""The house rules that a machine can see: check.py ROOT prints each broken one and exits with 1.

- an include points downwards only: to a lower layer, or inside a layer to a part listed above;
- every folder of src/ is a part of the plan;
- no folder or source file is a drawer for leftovers;
- intrinsics live in src/kernels/<instruction set>/ alone;
- files of src/ stay under 1,000 lines, lines within 100 columns.
"""
import pathlib
import re
import sys

# docs/architecture.md explains each part. The order inside a layer is part of the rule.
LAYERS = [
    ["base", "server"],
    ["quant", "weights", "text", "jinja", "kernels", "backend", "model", "grammar", "chat", "engine",
     "claude", "openai"],
    ["store", "proxy", "cli"],
]
RANK = {part: n for n, part in enumerate(part for layer in LAYERS for part in layer)}

DRAWERS = re.compile(r"^(utils?|utilities|commons?|misc|helpers?)$")
NOT_OURS = re.compile(r"^(\..*|build.*|node_modules|__pycache__|subprojects)$")
SOURCES = {".c", ".h", ".cc", ".cpp", ".hpp", ".m", ".mm", ".S", ".inc"}
INCLUDE = re.compile(r'^\s*#\s*(?:include|import)\s*([<"])([^>"]+)[>"]')
INTRINSICS = re.compile(r"^([a-z0-9]*intrin|arm_(neon|sve|acle|fp16|bf16|sme))\.h$")
MAX_LINES = 1000
MAX_COLUMNS = 100


def folders_and_files(top):
    """Everything below a folder, without what is built, fetched or hidden."""
    for path in sorted(top.iterdir()):
        if NOT_OURS.match(path.name) and path.is_dir():
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from folders_and_files(path)


def include_problem(part, in_arch_folder, quoted, target):
    """What is wrong with one include of a file of `part`, or None."""
    if INTRINSICS.match(target) and not in_arch_folder:
        return f"{target} belongs in src/kernels/<instruction set>/"
    if quoted and ".." in target.split("/"):
        return f'"{target}" climbs out of its folder; say "part/file.h"'
    first = target.split("/")[0]
    if "/" not in target or first not in RANK:
        return None
    if RANK[first] > RANK[part]:
        return f"{part} may not include {first}, which is above it"
    return None


def file_problems(path, part, in_arch_folder):
    lines = path.read_bytes().decode("utf-8", errors="replace").splitlines()
    if len(lines) > MAX_LINES:
        yield f"{len(lines)} lines; {MAX_LINES} are the most"
    for number, line in enumerate(lines, 1):
        if len(line.expandtabs(8)) > MAX_COLUMNS:
            yield f"line {number}: {len(line.expandtabs(8))} columns; {MAX_COLUMNS} are the most"
        include = INCLUDE.match(line)
        if include:
            problem = include_problem(part, in_arch_folder, include[1] == '"', include[2])
            if problem:
                yield f"line {number}: {problem}"


def source_problems(root):
    src = root / "src"
    for path in folders_and_files(src):
        inside = path.relative_to(src).parts
        name = path.relative_to(root).as_posix()
        part = inside[0]
        if path.is_dir():
            if len(inside) == 1 and part not in RANK:
                yield f"{name}: no part of the plan (LAYERS in tests/house/check.py)"
            continue
        if path.suffix not in SOURCES:
            continue
        if DRAWERS.match(path.stem):
            yield f"{name}: a drawer for leftovers; name it for what it is"
        if len(inside) == 1:
            yield f"{name}: lies in no part"
        elif part in RANK:
            in_arch_folder = part == "kernels" and len(inside) > 2
            for problem in file_problems(path, part, in_arch_folder):
                yield f"{name}: {problem}"


def problems(root):
    root = pathlib.Path(root)
    if not (root / "src").is_dir():
        return [f"{root} has no src/"]
    found = [
        f"{path.relative_to(root).as_posix()}: a drawer for leftovers; name it for what it holds"
        for path in folders_and_files(root)
        if path.is_dir() and DRAWERS.match(path.name)
    ]
    found += source_problems(root)
    return found


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = problems(sys.argv[1])
    for problem in found:
        print(problem)
    print(f"{len(found)} house rules broken" if found else "the house is in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
