"""Reads the sources (never imports them) and lists what breaks the house rules, one line a violation."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("configs", "catalog", "models", "actors", "strategies", "backtests", "live")
RANK = {
    name: rank
    for rank, name in enumerate(("configs", "catalog", "models", "actors", "strategies", "backtests"))
}
RANK["live"] = RANK["backtests"]  # equals: they share nothing but what lies below them

CATALOG_READERS = {"models/train.py"}
PURE_STRATEGY_FILES = {
    f"strategies/{name}.py"
    for name in ("checks", "entries", "open_trade", "protect", "risk", "stops", "trade")
}
ORDER_FILES = {"strategies/orders.py"}
ORDER_CALLS = {
    "submit_order",
    "submit_order_list",
    "modify_order",
    "modify_orders",
    "cancel_order",
    "cancel_orders",
    "cancel_all_orders",
    "close_position",
    "close_all_positions",
    "market_exit",
}
ENVIRONMENT_READERS = {"configs/load.py"}
ENVIRONMENT_NAMES = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
ENVIRONMENT_MODULES = {"pydantic_settings", "dotenv"}
UNSAFE_MODULES = {"pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "print"}
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60


class Source(NamedTuple):
    """One file: its path from the root, and its syntax tree."""

    path: str
    tree: ast.Module
    lines: int

    @property
    def package(self) -> str:
        return self.path.split("/", 1)[0]


def read_sources(root: Path, folders: tuple[str, ...] = PACKAGES) -> list[Source]:
    sources = []
    for folder in folders:
        for file in sorted((root / folder).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            sources.append(Source(file.relative_to(root).as_posix(), ast.parse(text), len(text.splitlines())))
    return sources


def imports(source: Source) -> Iterator[tuple[str, int]]:
    """Every dotted module that a file imports, wherever in the file, with its line."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = source.path.removesuffix(".py").split("/")[: -node.level]
                base = ".".join([*parts, *([base] if base else [])])
            yield base, node.lineno
            yield from ((f"{base}.{alias.name}".lstrip("."), node.lineno) for alias in node.names)


def _imports_of(source: Source, modules: set[str]) -> dict[int, str]:
    """Line and name of imports from the top-level `modules`, one a line."""
    return {line: name.split(".")[0] for name, line in imports(source) if name.split(".")[0] in modules}


def direction(sources: list[Source]) -> list[str]:
    found = []
    for source in sources:
        above = {name for name in PACKAGES if name != source.package and RANK[name] >= RANK[source.package]}
        for line, name in _imports_of(source, above).items():
            found.append(f"{source.path}:{line} imports {name}, which lies above or beside {source.package}")
    return found


def pure_models(sources: list[Source]) -> list[str]:
    found = []
    for source in sources:
        if source.package != "models":
            continue
        banned = {"nautilus_trader"} | (set() if source.path in CATALOG_READERS else {"catalog"})
        for line, name in _imports_of(source, banned).items():
            found.append(f"{source.path}:{line} imports {name}; models are mathematics")
    return found


def pure_decisions(sources: list[Source]) -> list[str]:
    """Files of decisions must not reach the engine, not even through what they import."""
    by_module = {s.path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): s for s in sources}
    found = []
    for source in sources:
        if not (source.path in PURE_STRATEGY_FILES or _decides(source)):
            continue
        queue, seen = [source], {source.path}
        while queue:
            current = queue.pop()
            for line in _imports_of(current, {"nautilus_trader"}):
                found.append(f"{source.path} reaches nautilus_trader at {current.path}:{line}")
            for name, _ in imports(current):
                reached = by_module.get(name)
                if reached is not None and reached.path not in seen:
                    seen.add(reached.path)
                    queue.append(reached)
    return found


def _decides(source: Source) -> bool:
    return source.package == "strategies" and any(
        isinstance(node, ast.FunctionDef) and node.name == "decide" for node in source.tree.body
    )


def sole_submitter(sources: list[Source]) -> list[str]:
    return [
        f"{source.path}:{node.lineno} calls {node.func.attr}; only strategies/orders.py orders"
        for source in sources
        if source.path not in ORDER_FILES
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ORDER_CALLS
    ]


def sole_environment_reader(sources: list[Source]) -> list[str]:
    found = []
    for source in sources:
        if source.path in ENVIRONMENT_READERS:
            continue
        lines = set(_imports_of(source, ENVIRONMENT_MODULES))
        lines |= {line for name, line in imports(source) if name in {f"os.{n}" for n in ENVIRONMENT_NAMES}}
        lines |= {
            node.lineno
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT_NAMES
        }
        found += [
            f"{source.path}:{line} reads the environment; configs/load.py does" for line in sorted(lines)
        ]
    return found


def safe_calls(sources: list[Source]) -> list[str]:
    found = []
    for source in sources:
        for line, name in _imports_of(source, UNSAFE_MODULES).items():
            found.append(f"{source.path}:{line} imports {name}; no file of ours may run code when read")
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Name) and node.func.id in UNSAFE_CALLS:
                found.append(f"{source.path}:{node.lineno} calls {node.func.id}")
            if any(k.arg == "allow_pickle" and not _is_false(k.value) for k in node.keywords):
                found.append(f"{source.path}:{node.lineno} allows pickle")
    return found


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def file_sizes(sources: list[Source]) -> list[str]:
    return [
        f"{source.path} has {source.lines} lines, at most {MAX_FILE_LINES}"
        for source in sorted(sources, key=lambda s: -s.lines)
        if source.lines > MAX_FILE_LINES
    ]


def function_sizes(sources: list[Source]) -> list[str]:
    """Functions that are too long, the worst first."""
    found = []
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    found.append((lines, f"{source.path}:{node.lineno} {node.name} has {lines} lines"))
    return [text for _, text in sorted(found, reverse=True)]


RULES: dict[str, Callable[[list[Source]], list[str]]] = {
    "direction": direction,
    "pure_models": pure_models,
    "pure_decisions": pure_decisions,
    "sole_submitter": sole_submitter,
    "sole_environment_reader": sole_environment_reader,
    "safe_calls": safe_calls,
    "file_sizes": file_sizes,
    "function_sizes": function_sizes,
}
