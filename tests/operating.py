"""What tests of an operator's commands ask and look at."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs.load import load_run
from live.command import send
from tests.live_nodes import Node, Rehearsal, until

__all__ = ["ETH", "PATIENCE", "Samples", "ask", "members", "opened", "run_of", "sampled", "stop_names"]

PATIENCE = 120.0
ETH = "ETHUSDT-PERP.BINANCE"


def ask(state: Path, name: str, strategy: str | None = None, **values: str) -> dict[str, Any]:
    """What a node answers to a command that it carries out."""
    answer = send(state, name, strategy, values, within_secs=PATIENCE)
    assert answer["done"], answer["text"]
    return answer


def run_of(path: Path) -> str:
    """A run file as a command brings it."""
    return load_run(path).model_dump_json()


def members(state: Path) -> dict[str, dict[str, Any]]:
    """What the node says of its strategies, by label."""
    return {m["label"]: m for m in ask(state, "status")["detail"]["strategies"]}


class Samples:
    """The venue's books again and again: how often something was held, and how often without a stop."""

    def __init__(self, venue: Rehearsal) -> None:
        self.held = 0
        self.naked: list[Any] = []
        self.amounts: set[float] = set()
        self._venue = venue
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self.ended.wait(0.01):
            ledger = self._venue.ledger()
            amounts = [float(p["amount"]) for p in ledger["positions"] if float(p["amount"])]
            self.amounts |= set(amounts)
            if amounts:
                self.held += 1
                if not any(order["close_position"] for order in ledger["open_algo_orders"]):
                    self.naked.append(ledger)


@contextmanager
def sampled(venue: Rehearsal) -> Iterator[Samples]:
    """Look at the venue all the while."""
    samples = Samples(venue)
    samples.thread.start()
    try:
        yield samples
    finally:
        samples.ended.set()
        samples.thread.join(PATIENCE)


def opened(venue: Rehearsal, node: Node) -> None:
    """Bring about a position with its stop and its targets."""
    node.until_trading()
    venue.jump(1.0)
    until(lambda: len(venue.stops()) == 1 and len(venue.ledger()["open_orders"]) == 2, "protection")


def stop_names(venue: Rehearsal) -> list[str]:
    """The stops that wait there."""
    return [stop["client_algo_id"] for stop in venue.stops()]
