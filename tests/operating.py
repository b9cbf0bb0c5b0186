"""What tests of an operator's commands ask and look at."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from configs.errors import RunFailedError
from configs.load import load_run
from live.command import send
from tests.live_nodes import ROOT, Node, Rehearsal, until

__all__ = [
    "ETH",
    "HANDING_OVER",
    "PATIENCE",
    "DyingNode",
    "Samples",
    "ask",
    "members",
    "opened",
    "run_of",
    "sampled",
    "stop_names",
]

PATIENCE = 120.0
ETH = "ETHUSDT-PERP.BINANCE"
DYING = str(ROOT / "tests" / "dying_node.py")
# the steps of a swap with the trade, and who has it after a kill there
HANDING_OVER = {
    "taken": "old",
    "prepared": "old",
    "plan_handed_on": "old",
    "roster_unwritten": "old",
    "roster_written": "new",
    "old_removed": "new",
    "new_not_added": "new",
    "new_added": "new",
    "replaced": "new",
    "unanswered": "new",
}


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


class DyingNode(Node):
    """A node that ends itself at a step, once a command has been given."""

    def __init__(self, run: Path, state: Path, venue: Rehearsal, step: str) -> None:
        self.flag = state.with_name(f"flag-{step}")
        super().__init__(run, state, venue, program=(DYING, step, str(self.flag)))

    def until_dead(self, name: str, strategy: str | None, **values: str) -> None:
        """Give a command, and wait for the end."""
        self.flag.touch()
        asking = threading.Thread(target=_ask, args=(self.state, name, strategy, values))
        asking.start()
        until(lambda: self.process.poll() is not None, f"{name}: the end", within=PATIENCE)
        asking.join(PATIENCE)
        assert self.process.poll() == -9, "".join(self.lines)


def _ask(state: Path, name: str, strategy: str | None, values: dict[str, str]) -> None:
    """Until it is carried out or the node has ended: a preflight or an order under way may refuse it."""
    with suppress(RunFailedError):
        while not send(state, name, strategy, values, within_secs=PATIENCE)["done"]:
            continue


def opened(venue: Rehearsal, node: Node) -> None:
    """Bring about a position with its stop and its targets."""
    node.until_trading()
    venue.jump(1.0)
    until(lambda: len(venue.stops()) == 1 and len(venue.ledger()["open_orders"]) == 2, "protection")


def stop_names(venue: Rehearsal) -> list[str]:
    """The stops that wait there."""
    return [stop["client_algo_id"] for stop in venue.stops()]
