"""A spot rehearsal in a process of its own, and a run file that trades on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from tests.live_nodes import Node, Rehearsal, rehearsal_of, run_file, until

__all__ = [
    "START",
    "assets",
    "covered",
    "open_orders",
    "spot_rehearsal",
    "spot_run_file",
    "trades_told",
    "wait_covered",
]

START = Decimal(100_000)


@contextmanager
def spot_rehearsal(*options: str) -> Iterator[Rehearsal]:
    """A venue of the synthetic BTCUSDT spot market, sixty minutes a minute."""
    base = ["--market", "spot", "--symbols", "BTCUSDT", "--speed", "60", "--history", "1500"]
    with rehearsal_of(*base, "--balance", str(START), *options) as place:
        yield place


def spot_run_file(folder: Path, **more: Any) -> Path:
    """Momentum on spot: a stop 2 % below, one target 5 % above."""
    path = run_file(folder, instrument="BTCUSDT.BINANCE", **({"targets": {"pct": 5.0}} | more))
    run = yaml.safe_load(path.read_text())
    run["venue"] = {"starting_balance": float(START)}
    path.write_text(yaml.safe_dump(run))
    return path


def assets(venue: Rehearsal) -> dict[str, tuple[Decimal, Decimal]]:
    """Free and locked by asset."""
    return {a["asset"]: (Decimal(a["free"]), Decimal(a["locked"])) for a in venue.ledger()["assets"]}


def open_orders(venue: Rehearsal) -> dict[str, Any]:
    """The open orders by type."""
    return {order["type"]: order for order in venue.ledger()["open_orders"]}


def covered(node: Node) -> bool:
    """Whether a position has been covered."""
    return any(
        r["kind"] == "action" and r["detail"]["action"] == "covered" and r["detail"]["quantity"] > 0
        for r in node.audit()
    )


def trades_told(node: Node) -> list[Any]:
    """The results of the trades that have ended."""
    return [r["detail"] for r in node.audit() if r["kind"] == "trade" and r["detail"]["what"] == "closed"]


def wait_covered(node: Node) -> None:
    """Wait until what is held is covered."""
    until(lambda: covered(node) or node.process.poll() is not None, "a cover")
    assert node.process.poll() is None, "".join(node.lines)
