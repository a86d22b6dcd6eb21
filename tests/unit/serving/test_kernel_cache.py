"""The kernel's disk cache: its loop has one, a form an entry, and an edit of any of its files is seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba import config

from simulator.serving import kernel
from simulator.serving.kernel.state import digest

FOLDER = Path(kernel.__file__).parent

needs_compiler = pytest.mark.skipif(config.DISABLE_JIT, reason="NUMBA_DISABLE_JIT is set")


def test_the_digest_is_of_names_and_contents_and_fits_a_signed_word(tmp_path):
    (tmp_path / "one.py").write_text("a = 1\n")
    (tmp_path / "two.py").write_text("b = 2\n")
    before = digest(tmp_path)
    assert 0 <= before < 1 << 63
    (tmp_path / "notes.txt").write_text("not a source")
    assert digest(tmp_path) == before
    (tmp_path / "two.py").write_text("b = 3\n")
    edited = digest(tmp_path)
    (tmp_path / "two.py").rename(tmp_path / "three.py")
    assert len({before, edited, digest(tmp_path)}) == 3


@needs_compiler
def test_only_the_entry_points_have_a_cache():
    modules = (sys.modules[f"{kernel.__name__}.{path.stem}"] for path in FOLDER.glob("[!_]*.py"))
    cached = {
        name
        for module in modules
        for name, value in vars(module).items()
        if type(getattr(value, "_cache", None)).__name__ == "FunctionCache"
    }
    assert cached == {"featured_advance", "lean_advance"}
    for form, featured in ((kernel.featured_advance, True), (kernel.lean_advance, False)):
        assert [cell.cell_contents for cell in form.py_func.__closure__] == [featured, digest(FOLDER)]


@needs_compiler
def test_an_edit_of_another_file_is_another_entry_of_the_cache(tmp_path):
    copied = tmp_path / "simulator" / "serving" / "kernel"
    shutil.copytree(FOLDER, copied, ignore=shutil.ignore_patterns("__pycache__"))
    (copied.parent.parent / "__init__.py").touch()
    (copied.parent / "__init__.py").touch()
    program = (
        "from numba.core.registry import cpu_target as target\n"
        "from simulator.serving.kernel import featured_advance, lean_advance\n"
        "for form in featured_advance, lean_advance:\n"
        "    print(form._cache._index_key((), target.target_context.codegen()))"
    )

    def keys():
        ran = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
        )
        return ran.stdout.splitlines()

    before = keys()
    assert len(set(before)) == 2
    assert keys() == before
    ends = copied / "ends.py"
    ends.write_text(ends.read_text().replace("at >>= 1", "at //= 2"))
    assert not set(keys()) & set(before)


@needs_compiler
def test_the_plain_form_of_a_function_is_what_was_written():
    assert kernel.plain(kernel.tree_set) is kernel.tree_set.py_func
    assert kernel.plain(digest) is digest
