#!/usr/bin/env python3
"""The house rules that a machine can see: check.py ROOT prints each broken one and exits with 1.

- an include points downwards only: to a lower layer, or inside a layer to a part listed above;
- every folder of src/ is a part of the plan;
- no folder or source file is a drawer for leftovers;
- intrinsics live in src/kernels/<instruction set>/ alone;
- files of src/ stay under 1,000 lines, lines within 100 columns, functions within 60 lines;
- no headers of a part include each other in a circle;
- no modules of a part do (a module is a .c and its .h), unless a header of theirs says that they
  are one: "One module: state, value, write." in a comment, names without their folder's;
- a static function that is a bare verb (add, run, …) is so called in one file only, so that a name
  means one thing; the tiers of src/kernels/, which name the same things alike, count as one file.
"""
import pathlib
import re
import sys

# docs/architecture.md explains each part. The order inside a layer is part of the rule.
LAYERS = [
    ["base", "server"],
    ["quant", "weights", "convert", "text", "jinja", "kernels", "backend", "model", "grammar",
     "chat", "engine", "claude", "openai"],
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
MAX_FUNCTION = 60
VERBS = set(
    "add advance append begin build check choose clear close compare compile copy create decode "
    "destroy done drop emit encode end exec fail find finish flush forget free generate get grow "
    "init insert keep load lock look_up make match merge next open parse peek pop print push put "
    "read receive release remove render reserve reset restart run save say send set show sort "
    "split start step stop store take unlock update wait wake write".split())
STATIC = re.compile(r"^static\s+(?:inline\s+)?[\w\s*]*?\b(\w+)\(", re.MULTILINE)
ONE_MODULE = re.compile(r"\bOne module:([^.]+)\.")


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


def functions(lines):
    """First and last line of each function definition, counted from 1, the signature included."""
    for opening, line in enumerate(lines):
        if line != "{":
            continue
        first = opening
        while first and lines[first - 1].strip() and not re.search(r"([;}]|\*/)\s*$|^#", lines[first - 1]):
            first -= 1
        last = opening
        while last < len(lines) - 1 and lines[last] != "}":
            last += 1
        yield first + 1, last + 1


def file_problems(path, part, in_arch_folder):
    lines = path.read_bytes().decode("utf-8", errors="replace").splitlines()
    if len(lines) > MAX_LINES:
        yield f"{len(lines)} lines; {MAX_LINES} are the most"
    for first, last in functions(lines):
        if last - first + 1 > MAX_FUNCTION:
            yield f"line {first}: a function of {last - first + 1} lines; {MAX_FUNCTION} are the most"
    for number, line in enumerate(lines, 1):
        if len(line.expandtabs(8)) > MAX_COLUMNS:
            yield f"line {number}: {len(line.expandtabs(8))} columns; {MAX_COLUMNS} are the most"
        include = INCLUDE.match(line)
        if include:
            problem = include_problem(part, in_arch_folder, include[1] == '"', include[2])
            if problem:
                yield f"line {number}: {problem}"


def included(src, path, text):
    """The files below src/ that a file includes."""
    for line in text.splitlines():
        include = INCLUDE.match(line)
        if include and include[1] == '"':
            for folder in (src, path.parent):
                if (folder / include[2]).is_file():
                    yield folder / include[2]
                    break


def circles(graph):
    """The sets of nodes that reach each other (Tarjan's strongly connected components)."""
    order, low, stack, found = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in order:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == order[node]:
            at = stack.index(node)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return found


def verb_problems(root):
    """Bare verbs that are static functions of more than one file."""
    files = {}
    for path in folders_and_files(root / "src"):
        if path.suffix not in SOURCES or not path.is_file():
            continue
        name = path.relative_to(root).as_posix()
        place = "src/kernels" if name.startswith("src/kernels/") else name
        for static in STATIC.findall(path.read_bytes().decode("utf-8", errors="replace")):
            if static in VERBS:
                files.setdefault(static, set()).add(place)
    for verb, places in sorted(files.items()):
        if len(places) > 1:
            yield f"{', '.join(sorted(places))}: each has a static {verb}(); name its module, too"


def circle_problems(root, part):
    """Circles of headers, and of modules, inside one part."""
    src, headers, modules, declared = root / "src", {}, {}, []
    for path in folders_and_files(src / part):
        if path.suffix not in SOURCES or not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", errors="replace")
        module = path.with_suffix("").relative_to(src).as_posix()
        inside = [other for other in included(src, path, text) if (src / part) in other.parents]
        modules.setdefault(module, set()).update(
            other.with_suffix("").relative_to(src).as_posix() for other in inside)
        modules[module].discard(module)
        if path.suffix == ".h":
            headers[path.relative_to(src).as_posix()] = {
                other.relative_to(src).as_posix() for other in inside if other != path}
            declared += [
                {f"{path.parent.relative_to(src).as_posix()}/{name}"
                 for name in re.findall(r"[\w/]+", names)}
                for names in ONE_MODULE.findall(text)]
    for circle in circles(headers):
        yield f"src/{part}: the headers {', '.join(circle)} include each other in a circle"
    for circle in circles(modules):
        if not any(set(circle) <= module for module in declared):
            yield f"src/{part}: {', '.join(circle)} include each other in a circle"


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
    found += verb_problems(root)
    for part in sorted((root / "src").iterdir()):
        if part.is_dir():
            found += circle_problems(root, part.name)
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
