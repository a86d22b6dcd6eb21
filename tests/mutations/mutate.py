"""Small faults put into a copy of the package, to see whether the tests notice.

``python tests/mutations/mutate.py [--most N] [--seed N]`` copies the sources and the tests beside
each other into a temporary folder, changes one place of one module at a time, runs the tests that
are about it and prints which faults lived. The checkout is never touched.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

#: Module -> the functions that faults are put into; empty for all.
MODULES: Final[dict[str, tuple[str, ...]]] = {
    "simulator/performance/training.py": ("estimate", "parts", "at", "_busiest_stage"),
    "simulator/performance/exchange.py": (),
    "simulator/llm/memory.py": (
        "stage_parameters", "stage_memory", "_state_bytes", "training_memory", "in_flight_layers",
    ),
    "simulator/llm/activations.py": (),
    "simulator/llm/pipeline.py": (),
    "simulator/llm/flops.py": (),
    "simulator/llm/scaling_laws.py": (),
}  # fmt: skip

#: What is run against each fault; none of them needs data that is not in the repository.
TESTS: Final = (
    "tests/theory/test_pipeline_schedules.py",
    "tests/theory/test_pipeline_bubble.py",
    "tests/theory/test_training_volumes.py",
    "tests/theory/test_attention_pairs.py",
    "tests/theory/test_scaling_laws.py",
    "tests/unit/llm",
    "tests/unit/performance/test_training.py",
    "tests/unit/performance/test_layouts.py",
    "tests/published/test_training_papers.py",
    "tests/properties/test_training_laws.py",
)

_SWAPS: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


@dataclass(frozen=True)
class Fault:
    """One changed place: the module's new text, and what was changed where."""

    module: str
    line: int
    told: str
    text: str


def faults(module: str, text: str, functions: Sequence[str]) -> Iterator[Fault]:
    """Return every fault of one module: swapped operators, other constants, min for max."""
    places = len(list(_places(ast.parse(text), functions)))
    for number in range(places):
        tree = ast.parse(text)
        node = list(_places(tree, functions))[number]
        line = getattr(node, "lineno", 0)
        before = ast.unparse(node)
        _change(node)
        ast.fix_missing_locations(tree)
        yield Fault(module, line, f"{before}  ->  {ast.unparse(node)}", ast.unparse(tree))


def _places(tree: ast.AST, functions: Sequence[str]) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (not functions or node.name in functions):
            for statement in node.body:
                # Messages are checked elsewhere; what a refusal says is no physics.
                if _raises(statement) or _is_text(statement):
                    continue
                yield from (part for part in ast.walk(statement) if _can_change(part))


def _raises(statement: ast.stmt) -> bool:
    return any(isinstance(part, ast.Raise | ast.JoinedStr) for part in ast.walk(statement))


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _can_change(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp | ast.AugAssign):
        return type(node.op) in _SWAPS
    if isinstance(node, ast.BoolOp):
        return True
    if isinstance(node, ast.Compare):
        return len(node.ops) == 1 and type(node.ops[0]) in _SWAPS
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and not isinstance(node.value, bool)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("min", "max")


def _change(node: ast.AST) -> None:
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp):
        node.op = _SWAPS[type(node.op)]()  # type: ignore[assignment]
    elif isinstance(node, ast.Compare):
        node.ops = [_SWAPS[type(node.ops[0])]()]  # type: ignore[list-item]
    elif isinstance(node, ast.Constant):
        assert isinstance(node.value, int | float)
        node.value = node.value * 2 if node.value else 1
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        node.func.id = "max" if node.func.id == "min" else "min"


def copied(folder: Path) -> Path:
    """Return a copy of what is needed, below a folder."""
    for name in ("simulator", "analysis", "tests", "scenarios"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def is_noticed(folder: Path) -> bool:
    """Return whether the tests fail in the copy."""
    quiet = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *TESTS],
        cwd=folder,
        env=quiet,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode not in (0, 1):
        return done.returncode == 2 and "error" in done.stdout  # a fault may already break an import
    return done.returncode == 1


def sample(most: int, seed: int) -> list[Fault]:
    """Return so many faults, spread evenly over the modules."""
    draw = random.Random(seed)
    by_module = []
    for module, functions in MODULES.items():
        found = list(faults(module, (ROOT / module).read_text(encoding="utf-8"), functions))
        draw.shuffle(found)
        by_module.append(found)
    chosen: list[Fault] = []
    while len(chosen) < most and any(by_module):
        for found in by_module:
            if found and len(chosen) < most:
                chosen.append(found.pop())
    return chosen


def run(most: int, seed: int) -> tuple[int, list[Fault]]:
    """Return (faults tried, those that lived)."""
    chosen = sample(most, seed)
    lived = []
    with tempfile.TemporaryDirectory() as name:
        folder = copied(Path(name))
        if is_noticed(folder):
            raise SystemExit("the tests fail without any fault")
        for fault in chosen:
            path = folder / fault.module
            whole = path.read_text(encoding="utf-8")
            path.write_text(fault.text, encoding="utf-8")
            if not is_noticed(folder):
                lived.append(fault)
            path.write_text(whole, encoding="utf-8")
    return len(chosen), lived


def main() -> None:
    """Try faults and print which lived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=42)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tried, lived = run(options.most, options.seed)
    for fault in lived:
        print(f"lived: {fault.module}:{fault.line}: {fault.told}")
    print(f"{tried - len(lived)} of {tried} faults noticed, {1 - len(lived) / tried:.0%}")


if __name__ == "__main__":
    main()
