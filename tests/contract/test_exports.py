"""What a module offers is written in its `__all__`: complete, sorted, existing."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from tests.architecture.checks import PACKAGES, Source, read_sources

ROOT = Path(__file__).resolve().parents[2]


def _exports(source: Source) -> list[str] | None:
    for node in source.tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            return list(ast.literal_eval(node.value))
    return None


def _order(name: str) -> tuple[int, list[str | int]]:
    """Constants, classes, functions; numbers inside a name count as numbers (the linter's order)."""
    kind = 0 if name.isupper() else 1 if name[:1].isupper() else 2
    return kind, [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", name)]


SOURCES = {source.path: source for source in read_sources(ROOT, PACKAGES)}
WITH_EXPORTS = sorted(path for path, source in SOURCES.items() if _exports(source) is not None)


@pytest.mark.parametrize("path", WITH_EXPORTS)
def test_exports_are_sorted_unique_and_exist(path: str) -> None:
    names = _exports(SOURCES[path]) or []
    assert names == sorted(set(names), key=_order)
    module = importlib.import_module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    assert [name for name in names if not hasattr(module, name)] == []


def test_every_module_with_public_definitions_has_exports() -> None:
    assert [
        path
        for path, source in SOURCES.items()
        if path not in WITH_EXPORTS
        and any(
            isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            for node in source.tree.body
        )
    ] == []


def test_the_order_is_constants_then_classes_then_functions_with_numbers_as_numbers() -> None:
    mixed = ["ema", "Zeta", "x10", "x9", "Alpha", "ZED", "ALPHA"]
    assert sorted(mixed, key=_order) == ["ALPHA", "ZED", "Alpha", "Zeta", "ema", "x9", "x10"]
