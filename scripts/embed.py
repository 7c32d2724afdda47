#!/usr/bin/env python3
"""Turns a file into C source: embed.py INPUT OUTPUT SYMBOL defines `const unsigned char SYMBOL[]`
(followed by a zero byte) and `const size_t SYMBOL_size`. Called by Meson while building."""
import sys


def main():
    source, target, symbol = sys.argv[1:]
    with open(source, "rb") as f:
        data = f.read()
    numbers = [str(byte) for byte in data] + ["0"]
    lines = [",".join(numbers[i:i + 24]) for i in range(0, len(numbers), 24)]
    with open(target, "w", encoding="ascii") as f:
        f.write("#include <stddef.h>\n")
        f.write(f"extern const unsigned char {symbol}[];\nextern const size_t {symbol}_size;\n")
        f.write(f"const unsigned char {symbol}[] = {{\n" + ",\n".join(lines) + "\n};\n")
        f.write(f"const size_t {symbol}_size = {len(data)};\n")


main()
