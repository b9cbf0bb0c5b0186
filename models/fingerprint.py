"""What a feature is made of, as a hash: its function, everything it uses, and the driver that feeds it.

Sources are compared as syntax: comments, layout and docstrings may change, code and constants may not. A
feature that is added or edited leaves the fingerprints of features that do not use it as they were.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

from models import definitions, signals, streaming
from models.kernel import DRIVER

__all__ = ["definitions_hash", "syntax_of"]

type Syntax = dict[str, ast.stmt]


def definitions_hash(names: Iterable[str]) -> str:
    """SHA-256 (hex) over the code of the features `names` and all they rest on."""
    tables = _tables()
    needed: set[tuple[str, str]] = set()
    for name in names:
        _collect("definitions", name, tables, needed)
    digest = hashlib.sha256(DRIVER.encode())
    for module, name in sorted(needed):
        digest.update(f"\n{module}.{name}\n{ast.unparse(tables[module][name])}".encode())
    return digest.hexdigest()


def syntax_of(source: str) -> Syntax:
    """The functions and constants of a module by name, without their docstrings."""
    table: Syntax = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
            table[node.name] = node
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                table.update({leaf.id: node for leaf in ast.walk(target) if isinstance(leaf, ast.Name)})
    return table


@functools.cache
def _tables() -> dict[str, Syntax]:
    """What may be named: by a feature alone, and after `stream.`."""
    definition, signal, streamed = (
        syntax_of(Path(str(module.__file__)).read_text(encoding="utf-8"))
        for module in (definitions, signals, streaming)
    )
    return {"definitions": signal | definition, "streaming": streamed}


def _collect(module: str, name: str, tables: dict[str, Syntax], needed: set[tuple[str, str]]) -> None:
    """Add `module.name` and what it uses, its arguments and `stream.x` included, to `needed`."""
    if name not in tables[module] or (module, name) in needed:
        return
    needed.add((module, name))
    for node in ast.walk(tables[module][name]):
        if isinstance(node, ast.Name):
            _collect(module, node.id, tables, needed)
        elif (
            isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "stream"
        ):
            _collect("streaming", node.attr, tables, needed)
