"""A node's records: the whole story of every order, the market it saw, and metrics that agree with both."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import yaml

from backtests.run import app as backtest
from catalog.columns import utc_text
from catalog.store import Catalog
from catalog.tick_store import read_quotes
from configs.console import run_app
from live.audit import check_lines, read_audit
from live.record.rows import read_rows
from tests.live_nodes import Node, Rehearsal, rehearsal, run_file, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]  # processes and sockets against the clock

BTC = "BTCUSDT-PERP.BINANCE"
MS = 1_000_000
QUOTES = ("--set", "live.record.quotes=true")


def _klines(venue: Rehearsal, since_ms: int) -> np.ndarray:
    """The venue's closed bars from an opening time on: close time + 1 ms, open, high, low, close, volume."""
    options = {"symbol": "BTCUSDT", "interval": "1m", "startTime": since_ms, "limit": 1500}
    with requests.get(f"{venue.facts['http']}/fapi/v1/klines", params=options, timeout=10) as answer:
        rows = answer.json()
    return np.array([[int(r[6]) + 1, *map(float, r[1:6])] for r in rows[:-1]])


def _lines(state: Path, kind: str) -> list[dict[str, Any]]:
    found = (line for _, line in read_audit(state))
    return [line.detail for line in found if line is not None and line.kind == kind]


def _metrics(state: Path) -> dict[str, float]:
    values: dict[str, float] = json.loads((state / "metrics.json").read_text())["values"]
    return values


def _story(orders: list[dict[str, Any]], role: str) -> list[str]:
    first = next(order["client_order_id"] for order in orders if order["role"] == role)
    return [o["event"].removeprefix("Order") for o in orders if o["client_order_id"] == first]


def test_a_session_leaves_the_whole_story_of_its_orders_and_metrics_that_agree(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with rehearsal() as venue, Node(run_file(tmp_path), state, venue, "--at-end", "flatten", *QUOTES) as node:
        node.until_trading()
        venue.jump(1.0)
        until(lambda: len(venue.stops()) == 1, "the stop")
        venue.fault("close_sockets")
        until(lambda: any(d["what"] == "reconnected" for d in _lines(state, "node")), "a reconnect")
        venue.clear()
        assert node.end() == 0, "".join(node.lines)
        ledger = venue.ledger()

    assert check_lines(read_audit(state)).is_whole
    orders = _lines(state, "order")
    assert _story(orders, "entry") == ["Initialized", "Submitted", "Accepted", "Filled"]
    assert _story(orders, "stop")[:3] == ["Initialized", "Submitted", "Accepted"]
    fills = [order for order in orders if order["event"] == "OrderFilled"]
    venue_fills = {str(fill["trade_id"]): fill for fill in ledger["fills"]}
    assert sorted(fill["trade_id"] for fill in fills) == sorted(venue_fills)
    for fill in fills:
        told = venue_fills[fill["trade_id"]]
        assert float(fill["last_px"]) == float(told["price"])
        assert float(fill["last_qty"]) == float(told["quantity"])
        assert float(fill["commission"].split()[0]) == pytest.approx(float(told["commission"]), abs=1e-8)

    steps = [detail["what"] for detail in _lines(state, "node")]
    assert steps[0] == "started"
    assert "recorder_stopped" in steps
    assert _lines(state, "quote")
    assert _lines(state, "funding")
    wallet = _lines(state, "account")[-1]["balances"][0]["total"]
    assert float(wallet) == pytest.approx(float(ledger["assets"][0]["wallet"]), abs=1e-8)

    metrics = _metrics(state)
    measured = [a["unprotected_secs"] for a in _lines(state, "action") if a["action"] in ("covered", "flat")]
    key = f'sextant_unprotected_seconds_total{{instrument="{BTC}"}}'
    assert metrics[key] == pytest.approx(sum(measured), abs=1e-9)
    assert measured
    paid = sum(float(fill["commission"].split()[0]) for fill in fills)
    assert metrics['sextant_commissions_total{currency="USDT"}'] == pytest.approx(paid)
    assert metrics['sextant_order_events_total{role="entry",event="Filled"}'] == 1
    assert metrics[f'sextant_bars_total{{instrument="{BTC}"}}'] == len(_lines(state, "bar"))
    assert metrics["sextant_tick_to_order_seconds_count"] >= 1
    assert metrics[f'sextant_position{{instrument="{BTC}"}}'] == 0
    assert metrics['sextant_writer_drops{writer="catalog"}'] == 0


def test_what_a_killed_node_has_seen_is_the_venues_and_a_backtest_replays_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    with rehearsal(speed=30) as venue:
        for attempt in range(2):  # killed, and started again
            with Node(run, state, venue, *QUOTES) as node:
                node.until_trading()
                if attempt == 0:
                    venue.jump(1.0)
                    until(lambda: len(venue.stops()) == 1, "the stop")
                node.until_bars(6)
                node.kill()
        with Node(run, state, venue, *QUOTES) as node:
            node.until_trading()
            assert node.end() == 0, "".join(node.lines)
        catalog = Catalog.open(state / "catalog")
        bars = catalog.bars(BTC, "1m")
        told = _klines(venue, (int(bars.ts_event[0]) - 60_000 * MS) // MS)

    checked = check_lines(read_audit(state))
    assert checked.is_whole
    assert len(checked.sessions) == 3
    told = told[: len(bars)]
    np.testing.assert_array_equal(bars.ts_event, told[:, 0].astype(np.int64) * MS)  # every minute, none twice
    for column, name in enumerate(("open", "high", "low", "close", "volume"), start=1):
        np.testing.assert_array_equal(getattr(bars, name), told[:, column])
    (position, *_) = _lines(state, "position")
    assert float(position["quantity"]) > 0
    found = [order["client_order_id"] for order in _lines(state, "order") if order["event"] == "found"]
    assert any(name.endswith("S0") for name in found)
    seen = {line["closed"] for line in _lines(state, "bar")}
    assert len(seen) > 12
    assert seen <= set(bars.ts_event.tolist())

    quotes = read_quotes(catalog, BTC, 0, 2**62)
    assert len(quotes) > 50
    assert np.all(np.diff(quotes.ts_init) >= 0)
    assert np.all(quotes.bid_price < quotes.ask_price)

    config = yaml.safe_load(run.read_text())
    start, end = int(bars.ts_event[0]) - 60_000 * MS, int(bars.ts_event[-1])
    test_start = int(bars.ts_event[-200])
    config["data"] |= {
        "catalog": str(state / "catalog"),
        "start": _iso(start),
        "test_start": _iso(test_start),
        "end": _iso(end),
    }
    (tmp_path / "replay.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit) as ended:
        run_app(backtest, [str(tmp_path / "replay.yaml"), "--out", str(tmp_path / "out"), "--json"])
    summary = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0
    assert summary["bars"] == 199


def _move_on(venue: Rehearsal, secs: float) -> None:
    while secs > 0:
        venue.control("POST", "step", secs=min(secs, 3600.0))
        secs -= 3600.0
    venue.control("POST", "resume")


def _until_settlement_secs(venue: Rehearsal) -> float:
    with requests.get(
        f"{venue.facts['http']}/fapi/v1/premiumIndex", params={"symbol": "BTCUSDT"}, timeout=10
    ) as answer:
        row = answer.json()
    return float(row["nextFundingTime"] - row["time"]) / 1000


def test_funding_is_recorded_as_it_was_settled_also_what_a_dead_node_has_missed(tmp_path: Path) -> None:
    run, state = run_file(tmp_path), tmp_path / "state"
    journal = state / "catalog" / "journal" / BTC

    def recorded() -> int:
        return sum(len(read_rows(path)) for path in journal.glob("mark-*.rows"))

    with rehearsal(speed=30) as venue:
        _move_on(venue, _until_settlement_secs(venue) - 3600)
        with Node(run, state, venue) as node:
            node.until_trading()
            venue.jump(1.0)
            until(lambda: len(venue.stops()) == 1, "the stop")
            assert recorded() == 0  # that of the market's first minute came before it had a price
            _move_on(venue, _until_settlement_secs(venue) - 30)
            until(recorded, "a settlement that the node has heard of")
            assert len(venue.ledger()["fundings"]) == 2
            node.kill()
        _move_on(venue, _until_settlement_secs(venue) + 60)
        with Node(run, state, venue) as node:
            node.until_trading()
            until(lambda: recorded() == 2, "what was missed")
            assert node.end() == 0, "".join(node.lines)
        told = venue.ledger()["fundings"]

    assert len(told) == 3
    catalog = Catalog.open(state / "catalog")
    rates, marks = catalog.funding(BTC), catalog.mark(BTC, "1m")
    assert rates.ts_event.tolist() == [row["ts_ms"] * MS for row in told]
    assert marks.ts_event.tolist() == [row["ts_ms"] * MS for row in told[1:]]
    assert rates.rate.tolist() == [float(row["rate"]) for row in told]
    assert marks.close.tolist() == [float(row["mark"]) for row in told[1:]]


def _iso(ns: int) -> str:
    return utc_text(ns).replace(" ", "T") + ":00Z"
