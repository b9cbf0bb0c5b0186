"""What the load benchmark makes of what a node has written down."""

import json
from pathlib import Path

import pytest

from benchmarks.live_figures import closes_of, node_closes

SECOND = 1_000_000_000
BTC, ETH = "BTCUSDT-PERP.BINANCE", "ETHUSDT-PERP.BINANCE"


def line(kind: str, instrument: str, **detail: object) -> str:
    return json.dumps({"kind": kind, "instrument": instrument, "detail": detail})


def sent(instrument: str, at: int, role: str = "entry") -> str:
    return line("order", instrument, event="OrderSubmitted", role=role, ts_init=at)


def test_orders_within_a_second_are_of_one_close_in_the_order_of_their_sending() -> None:
    late = [(5 * SECOND + 30, 3.0), (5 * SECOND, 1.0), (65 * SECOND, 2.0), (5 * SECOND + 10, 2.5)]
    assert closes_of(late) == [[1.0, 2.5, 3.0], [2.0]]


def test_a_bar_counts_with_the_first_order_that_it_caused_and_protection_does_not(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    rows = [
        sent(BTC, 62 * SECOND + 2_000_000, "exit"),  # the bus may tell of an order before it tells of its bar
        line("bar", BTC, received=62 * SECOND),
        line("bar", ETH, received=62 * SECOND + 1_000_000),
        sent(ETH, 62 * SECOND + 9_000_000),
        sent(ETH, 62 * SECOND + 9_500_000, "add"),
        sent(ETH, 62 * SECOND + 20_000_000, "stop"),
        sent(BTC, 70 * SECOND),  # nobody's bar
        line("action", BTC, action="open_plan"),
    ]
    (tmp_path / "audit" / "audit-20261121.jsonl").write_text("\n".join(rows) + "\n")
    assert node_closes(tmp_path) == [pytest.approx([2.0, 8.0])]
    assert node_closes(tmp_path, began=62 * SECOND + 1) == [pytest.approx([8.0])]
