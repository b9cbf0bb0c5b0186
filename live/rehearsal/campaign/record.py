"""What a node left in its state folder and on its standard output, read back."""

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from actors.state_file import newest
from catalog.instruments import read_exchange_info, symbol_of
from live.rehearsal.campaign.evidence import NodeView
from live.rehearsal.campaign.scenario import Kind

__all__ = ["is_believed", "node_view", "outcome_of", "read_audit"]

_STOPPED = re.compile(r"^stopped: (\w+)", re.MULTILINE)


def read_audit(state: Path) -> tuple[tuple[dict[str, Any], ...], int]:
    """The records of the audit files in their order, and how many lines cannot be read."""
    records: list[dict[str, Any]] = []
    unreadable = 0
    for path in sorted(state.glob("audit/*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                unreadable += 1
    return tuple(records), unreadable


def is_believed(state: Path, held: Mapping[str, Decimal], kind: Kind = "um") -> bool:
    """Whether these positions, by symbol and none of them flat, are what the strategies have written down.

    In whole steps of the node's own: a rest of less it has no number for, where a fault has changed the step.
    """
    found = set[str]()
    for written in _state_files(state, "trade-*.json").values():
        memory = written.get("state", written) if isinstance(written, dict) else {}
        if memory.get("held_lots"):
            symbol = symbol_of(memory["instrument"])
            step = read_exchange_info(state / "exchange_info.json", kind)[symbol].step
            if symbol not in held or abs(memory["held_lots"] * step - held[symbol]) >= step:
                return False
            found.add(symbol)
    return found == held.keys()


def outcome_of(output: Path) -> str | None:
    """What a node said last: flat, protected or unsettled."""
    found = _STOPPED.findall(output.read_text(errors="replace")) if output.exists() else []
    return found[-1] if found else None


def node_view(state: Path, audit: Sequence[Mapping[str, Any]]) -> NodeView:
    """The last books that the node wrote, and its state files."""
    books = [r for r in audit if r["kind"] == "node" and r["detail"].get("what") == "books"]
    files = _state_files(state, "*.json")
    files.pop("exchange_info.json", None)
    if not books:
        return NodeView(state=files)
    last = books[-1]["detail"]
    balance = last["balance"].get("USDT")
    return NodeView(
        wall_ns=books[-1]["wall"],
        positions={name: Decimal(text) for name, text in last["positions"].items()},
        open_orders=last["orders"],
        balance=None if balance is None else Decimal(balance),
        commissions={name: _sum(texts) for name, texts in last["commissions"].items()},
        realized={name: _sum(texts) for name, texts in last["realized"].items()},
        state=files,
    )


def _state_files(state: Path, pattern: str) -> dict[str, Any]:
    """What the files say, by name, with what is newer beside them."""
    return {path.name: _decoded(path) for path in sorted(state.glob(pattern))}


def _sum(texts: Sequence[str]) -> Decimal:
    return sum((Decimal(text.split()[0].replace("_", "")) for text in texts), Decimal(0))


def _decoded(path: Path) -> Any:
    content = newest(path)
    if content is None:
        return None  # it has just been removed
    try:
        return json.loads(content)
    except ValueError as error:
        return f"unreadable: {error}"
