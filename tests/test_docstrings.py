"""The docstrings of the package: an imperative first line for each function, and examples that are true."""

import ast
import doctest
import importlib
import inspect
import logging
from pathlib import Path

import pytest

import cupl_bench

PACKAGE = Path(cupl_bench.__file__).parent

VERBS = (
    "Add Answer Ask Check Claim Classify Compare Compose Compute Connect Count Do Download Draw Encode End Export Find"
    " Give Hand Hold Identify Import Keep Launch Leave Let Look Make Measure Move Name Number Open Predict Print"
    " Put Raise Read Refuse Remember Remove Report Reproduce Return Run Say Score Show Start Take Tell Test Track"
    " Turn Undo Wait Warn Write Yield"
)
"""The words that a function's docstring may begin with. A new verb is welcome; a noun or a question word is not."""


def _functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method but properties, which are named and described as the thing that they are."""
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [
        node
        for node in functions
        if not {"property", "cached_property"} & {getattr(one, "id", None) for one in node.decorator_list}
    ]


@pytest.mark.slow
def test_docstrings_of_functions_begin_with_an_imperative_verb() -> None:
    verbs, found, wrong = set(VERBS.split()), 0, []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in _functions(path):
            file, text = path.relative_to(PACKAGE).as_posix(), ast.get_docstring(node)
            if text is None:
                continue
            found += 1
            if text.split()[0].rstrip(",") not in verbs:
                wrong.append(f"{file}:{node.lineno} {node.name}: {text.splitlines()[0]}")
    assert found > 600
    assert not wrong, "\n".join(wrong)


PURE = [
    "dataset.names", "embeddings", "identity", "intervals", "paths", "report.significance", "report.texts", "scores",
    "template_weights",
]  # fmt: skip
"""Modules that compute and touch nothing else: each of their functions has an example."""

WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if "    >>> " in path.read_text()
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        pytest.param(module, marks=pytest.mark.slow if module == "cupl_bench.api" else ())  # it draws the demo's images
        for module in WITH_EXAMPLES
    ],
)
def test_examples_are_true(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUPL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(logging.getLogger("cupl_bench"), "handlers", [])  # those of a command line before
    assert doctest.testmod(importlib.import_module(module)).failed == 0


@pytest.mark.parametrize("module", PURE)
def test_functions_of_pure_modules_have_an_example(module: str) -> None:
    found = importlib.import_module(f"cupl_bench.{module}")
    functions = [one for name in found.__all__ if inspect.isfunction(one := getattr(found, name))]
    assert functions
    assert not [one.__name__ for one in functions if ">>> " not in (one.__doc__ or "")]
