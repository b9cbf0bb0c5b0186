"""A spot rehearsal in a process of its own, and a run file that trades on it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import yaml

from tests.live_nodes import Node, Rehearsal, rehearsal_of, run_file, until

__all__ = [
    "DUST",
    "START",
    "Looks",
    "assert_listed",
    "assert_money",
    "assets",
    "covered",
    "enter",
    "eth_file",
    "open_orders",
    "spot_rehearsal",
    "spot_run_file",
    "trades_told",
    "until_over",
    "wait_covered",
]

START = Decimal(100_000)
DUST = Decimal("0.0001")


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


def eth_file(folder: Path, **more: Any) -> Path:
    """The same on ETHUSDT."""
    path = spot_run_file(folder, file="eth.yaml", name="eth", **more)
    run = yaml.safe_load(path.read_text())
    run["strategies"][0]["instrument"] = "ETHUSDT.BINANCE"
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


def enter(node: Node, venue: Rehearsal) -> None:
    """Provoke the first entry, unless the first bar has been signal enough, and wait for its cover."""
    node.until_trading()
    venue.jump(1)
    wait_covered(node)


def assert_listed(venue: Rehearsal) -> None:
    """All coins but dust are offered by one list of a target and a stop."""
    orders, (free, locked) = open_orders(venue), assets(venue)["BTC"]
    assert set(orders) == {"LIMIT_MAKER", "STOP_LOSS"}
    assert {Decimal(order["quantity"]) for order in orders.values()} == {locked}
    assert orders["LIMIT_MAKER"]["list_id"] == orders["STOP_LOSS"]["list_id"]
    assert free < Decimal("0.00002")


def until_over(node: Node, venue: Rehearsal, trades: int = 1) -> None:
    """Wait for the result of a trade, and that nothing of it is left on offer."""
    until(lambda: len(trades_told(node)) >= trades or node.process.poll() is not None, "the end of the trade")
    assert node.process.poll() is None, "".join(node.lines)
    until(lambda: not open_orders(venue) or assets(venue)["BTC"][1] > 0, "no orphan")


def assert_money(node: Node, venue: Rehearsal) -> None:
    """What the node says it has earned is what the account has more, dust at the last sale's price."""
    told = sum(trade["pnl"] for trade in trades_told(node))
    cash, coins = sum(assets(venue)["USDT"]), sum(assets(venue)["BTC"])
    assert coins < DUST
    assert abs(told - float(cash - START)) < float(coins) * 70_000 + 0.01


class Looks:
    """The venue's books again and again: how often coins were held, and how often without a stop."""

    def __init__(self, venue: Rehearsal) -> None:
        self.held, self.bare = 0, 0
        self.names: set[frozenset[str]] = set()
        self._venue = venue
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._ended.wait(0.01):
            ledger = self._venue.ledger()
            coins = sum(
                Decimal(a["free"]) + Decimal(a["locked"]) for a in ledger["assets"] if a["asset"] == "BTC"
            )
            if coins > DUST:
                self.held += 1
                self.bare += not any(o["type"] == "STOP_LOSS" for o in ledger["open_orders"])
                self.names.add(frozenset(o["client_order_id"] for o in ledger["open_orders"]))
