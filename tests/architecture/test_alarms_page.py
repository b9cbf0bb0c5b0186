"""The operator's page (`docs/alarms.md`) knows every reason and every alarm that the code can tell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs" / "alarms.md").read_text(encoding="utf-8").split())
SOURCES = sorted(
    path
    for folder in ("actors", "strategies", "live")
    for path in (ROOT / folder).rglob("*.py")
    if "rehearsal" not in path.parts
)
FINDS, PAUSES, ALARMS = {"Finding", "_check", "_halt"}, {"pause", "stand_still", "add"}, {"alarm", "_alarm"}
LEAST = 10  # letters that tell one alarm from another


def _callee(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _texts(node: ast.expr, names: dict[str, list[ast.expr]]) -> Iterator[str]:
    """The fixed beginnings and parts of a text, through the names that it is assigned to."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield from (part.value for part in node.values if isinstance(part, ast.Constant))
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, names)
        yield from _texts(node.orelse, names)
    elif isinstance(node, ast.Name):
        for value in names.get(node.id, ()):
            yield from _texts(value, names)


def _assigned(tree: ast.AST) -> dict[str, list[ast.expr]]:
    names: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = (
                    zip(target.elts, node.value.elts, strict=False)
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                    else [(target, node.value)]
                )
                for name, value in pairs:
                    if isinstance(name, ast.Name):
                        names.setdefault(name.id, []).append(value)
    return names


def _calls(callees: set[str]) -> Iterator[tuple[str, ast.Call, dict[str, list[ast.expr]]]]:
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        module = _assigned(ast.Module(tree.body, []))
        for scope in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
            names = module | _assigned(scope)
            for node in ast.walk(scope):
                if isinstance(node, ast.Call) and _callee(node) in callees:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node, names


def _reasons() -> Iterator[tuple[str, str]]:
    for where, call, names in _calls(FINDS | PAUSES):
        if not call.args or (_callee(call) == "add" and "_pauses" not in ast.unparse(call.func)):
            continue
        text = next(_texts(call.args[0], names), "")
        code = text.split(":")[0]
        if code and code.replace("_", "").isalpha() and code.islower():
            yield where, code


@pytest.mark.parametrize("code", sorted({code for _, code in _reasons()}))
def test_every_reason_that_holds_entries_back_is_on_the_page(code: str) -> None:
    assert f"`{code}`" in PAGE or f"`{code}:" in PAGE


def _alarms() -> Iterator[tuple[str, list[str]]]:
    for where, call, names in _calls(ALARMS):
        text = call.args[0 if _callee(call) == "_alarm" else 1] if call.args else None
        parts = [] if text is None else [part.strip(" :;,") for part in _texts(text, names)]
        told = [part for part in parts if len(part) >= LEAST]
        if told:
            yield where, told


@pytest.mark.parametrize(("where", "parts"), sorted(_alarms()), ids=lambda value: str(value)[:60])
def test_every_alarm_is_on_the_page(where: str, parts: list[str]) -> None:
    assert any(part in PAGE for part in parts), f"{where}: docs/alarms.md has nothing on {parts}"


def test_reasons_and_alarms_are_found_at_all() -> None:
    codes = {code for _, code in _reasons()}
    assert {"no_equity", "halt_rejections", "stale_quotes", "user_stream", "node_stopping"} <= codes
    assert len(list(_alarms())) >= 20
