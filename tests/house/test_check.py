#!/usr/bin/env python3
"""The check itself: it passes what the rules allow and fails on each thing that they forbid."""
import pathlib
import tempfile
import unittest

import check


class Check(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)
        (self.root / "src").mkdir()

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def assert_fine(self):
        self.assertEqual(check.problems(self.root), [])

    def assert_broken(self, *words):
        found = check.problems(self.root)
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])

    def test_downward_includes_are_fine(self):
        self.write("src/engine/a.c", '#include "engine/a.h"\n#include "model/model.h"\n'
                                     '#include "base/buf.h"\n#include <stdio.h>\n#include "b.h"\n')
        self.write("src/proxy/a.c", '#include "claude/claude.h"\n#include "server/handler.h"\n')
        self.write("src/cli/a.c", '#include <sys/stat.h>\n  #  include "server/server.h"\n')
        self.assert_fine()

    def test_an_include_of_a_higher_layer_is_not(self):
        self.write("src/base/a.c", '#include "quant/quant.h"\n')
        self.assert_broken("src/base/a.c", "line 1", "base may not include quant")

    def test_nor_of_a_later_part_of_the_same_layer(self):
        self.write("src/text/a.h", '\n#include "kernels/kernels.h"\n')
        self.assert_broken("src/text/a.h", "line 2", "text may not include kernels")

    def test_every_pair_of_parts_goes_one_way_only(self):
        parts = list(check.RANK)
        for low, part in enumerate(parts):
            for high, other in enumerate(parts):
                self.write("src/%s/a.c" % part, '#include "%s/x.h"\n' % other)
                self.assertEqual(bool(check.problems(self.root)), high > low, (part, other))
                (self.root / "src" / part / "a.c").unlink()

    def test_angle_brackets_spaces_and_subfolders_hide_nothing(self):
        for text in ("#include <cli/cli.h>\n", ' # include\t"cli/cli.h"\n'):
            self.write("src/backend/cpu/a.c", text)
            self.assert_broken("backend may not include cli")

    def test_nor_does_a_way_around_through_dots(self):
        self.write("src/base/a.c", '#include "../cli/cli.h"\n')
        self.assert_broken("climbs out")

    def test_a_folder_that_is_no_part_is_not_fine(self):
        self.write("src/things/a.c", "int a;\n")
        self.assert_broken("src/things", "no part")

    def test_nor_a_file_in_no_folder(self):
        self.write("src/a.c", "int a;\n")
        self.assert_broken("src/a.c", "lies in no part")

    def test_drawers_are_not_fine_anywhere(self):
        for name in ("src/engine/util", "tests/common", "bench/misc", "scripts/helpers"):
            self.write(name + "/x.txt", "x\n")
            self.assert_broken(name + ":", "drawer")
            (self.root / name / "x.txt").unlink()
            (self.root / name).rmdir()
        self.write("src/engine/helpers.c", "int a;\n")
        self.assert_broken("src/engine/helpers.c", "drawer")

    def test_what_is_fetched_or_built_is_nobodys_concern(self):
        self.write("build-x/common/a.c", "int a;\n")
        self.write(".venv/util/a.c", "int a;\n")
        self.write("tests/e2e/node_modules/misc/a.js", "a\n")
        self.assert_fine()

    def test_intrinsics_live_with_their_instruction_set(self):
        self.write("src/kernels/x86/a.c", "#include <immintrin.h>\n")
        self.write("src/kernels/arm/a.c", "#include <arm_neon.h>\n")
        self.assert_fine()
        for name in ("src/kernels/a.c", "src/backend/cpu/a.c"):
            for header in ("immintrin.h", "x86intrin.h", "emmintrin.h", "arm_neon.h"):
                self.write(name, "#include <%s>\n" % header)
                self.assert_broken(name, header)
            (self.root / name).unlink()

    def test_files_are_at_most_1000_lines(self):
        self.write("src/base/a.c", "\n" * 1000)
        self.assert_fine()
        self.write("src/base/a.c", "\n" * 1001)
        self.assert_broken("1001 lines")

    def test_lines_are_at_most_100_columns(self):
        self.write("src/base/a.h", "/*" + "é" * 98 + "\n")
        self.assert_fine()
        self.write("src/base/a.h", "x" * 101 + "\n")
        self.assert_broken("line 1: 101 columns")
        self.write("src/base/a.h", "\t" * 12 + "xxxxx\n")
        self.assert_broken("101 columns")

    def test_functions_have_at_most_60_lines(self):
        for macro in ("static int f(int a,\n             int b)\n", "/* Why. */\nFILTER(f)\n"):
            n_before = macro.count("\n") - macro.count("*/")
            body = lambda n: macro + "{\n" + "    a;\n" * (n - n_before - 2) + "}\n\nint x;\n"
            self.write("src/base/a.c", body(60))
            self.assert_fine()
            self.write("src/base/a.c", "int y;\n" + body(61))
            self.assert_broken("src/base/a.c", "a function of 61 lines")
        self.write("src/base/a.c", "struct s {\n" + "    int a;\n" * 80 + "};\n")
        self.assert_fine()

    def test_modules_do_not_include_each_other_in_a_circle(self):
        self.write("src/engine/a.h", "int a;\n")
        self.write("src/engine/b.h", '#include "engine/a.h"\n')
        self.write("src/engine/b.c", '#include "engine/b.h"\n')
        self.write("src/engine/a.c", '#include "a.h"\n#include "engine/c.h"\n')
        self.write("src/engine/c.h", "int c;\n")
        self.assert_fine()
        self.write("src/engine/c.c", '#include "engine/b.h"\n')
        self.assert_broken("src/engine", "engine/a, engine/b, engine/c include each other")

    def test_unless_a_header_says_that_they_are_one_module(self):
        self.write("src/engine/a.h", "/* One module: a, b. */\n")
        self.write("src/engine/b.h", '/* b. */\n#include "engine/a.h"\n')
        self.write("src/engine/a.c", '#include "engine/b.h"\n')
        self.assert_fine()
        self.write("src/engine/a.h", "/* What it is. One module: a,\n * b. And so on. */\n")
        self.assert_fine()
        self.write("src/engine/c.h", '#include "engine/b.h"\n')
        self.write("src/engine/a.c", '#include "engine/c.h"\n')
        self.assert_broken("engine/a, engine/b, engine/c")

    def test_headers_never_do(self):
        self.write("src/engine/a.h", '/* One module: a, b. */\n#include "engine/b.h"\n')
        self.write("src/engine/b.h", '#include "engine/a.h"\n')
        self.assert_broken("the headers engine/a.h, engine/b.h include each other")

    def test_a_circle_in_a_folder_of_a_part_is_seen(self):
        self.write("src/kernels/k.h", "int k;\n")
        self.write("src/kernels/x86/x.h", '#include "kernels/k.h"\n')
        self.write("src/kernels/k.c", '#include "kernels/x86/x.h"\n')
        self.assert_broken("kernels/k, kernels/x86/x include each other")
        self.write("src/kernels/k.h", "/* One module: k, x86/x. */\n")
        self.assert_fine()

    def test_a_bare_verb_names_one_thing(self):
        self.write("src/base/a.c", "static bool read(int a)\n{\n}\n\nstatic void a_put(void);\n")
        self.write("src/base/b.c", "static void *b_read(int a)\n{\n    return read(a);\n}\n")
        self.assert_fine()
        self.write("src/text/a.c", "static inline const char *read(void)\n{\n}\n")
        self.assert_broken("src/base/a.c, src/text/a.c", "static read()")

    def test_tiers_of_kernels_name_the_same_things_alike(self):
        self.write("src/kernels/a.c", "static void read(float *x)\n{\n}\n")
        self.write("src/kernels/x86/a.c", "static void read(float *x)\n{\n}\n")
        self.assert_fine()
        self.write("src/model/a.c", "static void read(float *x)\n{\n}\n")
        self.assert_broken("src/kernels, src/model/a.c")

    def test_a_root_without_sources_is_not_fine(self):
        (self.root / "src").rmdir()
        self.assert_broken("no src/")


if __name__ == "__main__":
    unittest.main()
