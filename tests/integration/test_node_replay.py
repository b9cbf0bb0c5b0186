"""What a node has recorded is enough: a backtest of it decides as the node has decided, bit for bit."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml

from backtests.session import Inputs, execute, model_test, prepare
from catalog.columns import MINUTE_NS, SECOND_NS
from catalog.known import read_known
from catalog.sentiment import DAY_NS, SentimentColumns
from catalog.store import Catalog
from catalog.tick_store import read_quotes, read_trades
from configs.load import load_run
from live.record.rows import read_rows
from tests.catalogs import catalog_with
from tests.integration import test_node_sentiment as moody
from tests.integration import test_node_ticks as scalping
from tests.live_nodes import Node, Rehearsal, rehearsal_of, until
from tests.modelling import INSTRUMENT

pytestmark = pytest.mark.slow  # processes and sockets against the clock

bundle = moody.bundle
EVER = 2**62
ETH = "ETHUSDT-PERP.BINANCE"  # nothing else may be entered: there are wishes, and no position
DECISIONS = 4  # of those after the first of its side none is written down
TALKATIVE = {
    "continuation_30s": 5.0,
    "flow_bps": 100,
    "book_bps": 100,
    "cost_bps": 0,
    "min_edge_bps": 0.01,
    "full_edge_bps": 1e4,  # no confidence is cut at 1
    "max_spread_bps": 10,
    "min_depth": 0,
    "min_book_imbalance": 0,
    "min_flow_imbalance": 0,
    "max_quote_age_ms": 5000,
    "max_latency_ms": 5000,
}


class _Nowhere(Rehearsal):
    """No venue is named: the node makes a rehearsal for itself."""

    settings: ClassVar[list[str]] = []  # type: ignore[misc,assignment]


def _replay(run: Path, catalog: Catalog, start: int, test_start: int, end: int, *more: str) -> Inputs:
    """The run over what was recorded: its file, the recorded catalog and the recorded period."""
    times = {"start": start, "test_start": test_start, "end": end}
    settings = [f"data.catalog={catalog.path}", *(f"data.{name}={_text(ns)}" for name, ns in times.items())]
    return prepare(load_run(run, [*settings, *more]), models_root=run.parent / "models", quiet=True)


def _text(ts_ns: int) -> str:
    return f"{datetime.fromtimestamp(ts_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _intents(records: list[tuple[int, str, dict[str, Any]]]) -> list[tuple[int, dict[str, Any]]]:
    """The wishes with the close of their bar: a bar of a second is there within the next one."""
    return [(ts // SECOND_NS * SECOND_NS, detail) for ts, kind, detail in records if kind == "intent"]


def _count(node: Node, kind: str, known: int) -> int:
    return sum(line["kind"] == kind for line in node.audit()[known:])


def test_a_backtest_of_recorded_ticks_decides_as_the_node_on_bars_of_a_second(tmp_path: Path) -> None:
    strategy = scalping.RUN["strategies"][0] | {"signal": TALKATIVE}  # type: ignore[index]
    risk = scalping.RUN["risk"] | {"position": {"symbols": [ETH]}}  # type: ignore[operator]
    run, state = scalping._run(tmp_path, strategies=[strategy], risk=risk), tmp_path / "state"
    options = ("--symbols", "BTCUSDT", "--speed", "1", "--trades", "2400", "--balance", "100000")
    with rehearsal_of(*options) as venue:
        with Node(run, state, venue) as node:
            node.until_trading()
            node.until_bars(33)  # the tape knows its half minute
            known = len(node.audit())
            until(lambda: _count(node, "intent", known) >= DECISIONS, "decisions", within=200)
            node.kill()
        with Node(run, state, venue) as again:  # takes up what the killed one has left
            again.until_trading()
            assert again.end() == 0, "".join(again.lines)
        said = _intents([(r["ts"], r["kind"], r["detail"]) for r in node.audit()])

    catalog = Catalog.open(state / "catalog")
    quotes, trades = read_quotes(catalog, INSTRUMENT, 0, EVER), read_trades(catalog, INSTRUMENT, 0, EVER)
    bars = catalog.bars(INSTRUMENT, "1s")
    first = min(int(quotes.ts_init[0]), int(trades.ts_init[0])) // SECOND_NS * SECOND_NS
    gap = int(np.flatnonzero(np.diff(bars.ts_event) > SECOND_NS)[0])  # while no node was alive
    end = int(bars.ts_event[gap])
    inputs = _replay(run, catalog, first, int(bars.ts_event[0]), end)
    outcome = execute(inputs)
    outcome.simulation.engine.dispose()
    told = _intents([(r.ts_event, r.kind, r.detail) for r in outcome.records])
    settled = int(bars.ts_event[32])
    said, told = ([i for i in each if settled < i[0] <= end] for each in (said, told))
    assert len(said) >= DECISIONS
    assert {detail["side"] for _, detail in said} == {-1, 1}
    assert told == said


def _learned(state: Path) -> int:
    """How many values of the index are in the journal."""
    return sum(len(read_rows(path)) for path in state.glob("catalog/journal/fear_greed/*.rows"))


def test_a_backtest_of_a_recorded_market_and_index_forecasts_as_the_node(
    tmp_path: Path, bundle: Path
) -> None:
    """The index changes while the node trades; both know it from the same bar on."""
    minutes = moody._minutes(16_000)
    source = catalog_with(tmp_path / "catalog", columns=minutes)
    days, values = moody._index_of(int(minutes.ts_event[0]), 12)
    source.write_sentiment("fear_greed", SentimentColumns(days, values))
    midnight = -(-int(minutes.ts_event[12_000]) // DAY_NS) * DAY_NS
    run, state = moody._run(tmp_path, bundle, "x"), tmp_path / "state"
    told = yaml.safe_load(run.read_text())
    told["sentiment"].pop("url")
    told["data"] |= {
        "catalog": str(tmp_path / "catalog"),
        "start": _text(int(minutes.ts_event[0]) - MINUTE_NS),
        "test_start": _text(midnight - 70 * MINUTE_NS),
        "end": _text(int(minutes.ts_event[-1])),
    }
    run.write_text(yaml.safe_dump(told))
    with Node(run, state, _Nowhere({}), "--speed", "60") as node:
        until(lambda: moody._forecasts(node), "forecasts", within=150)
        known = _learned(state)
        until(lambda: _learned(state) > known, "the value of a new day", within=150)
        count = len(moody._forecasts(node))
        until(lambda: len(moody._forecasts(node)) >= count + 5, "forecasts")
        said = moody._forecasts(node)
        assert node.end() == 0, "".join(node.lines)

    catalog = Catalog.open(state / "catalog")
    bars = catalog.bars(INSTRUMENT, "1m")
    start, first, end = int(bars.ts_event[0]) - MINUTE_NS, min(said), int(bars.ts_event[-1])
    inputs = _replay(run, catalog, start, first - MINUTE_NS, end)
    replayed = model_test(inputs)
    found = dict(
        zip(replayed["ts_event"].astype("int64").tolist(), replayed["probability"].tolist(), strict=True)
    )
    assert {ts: found[ts] for ts in said} == said
    told_at = read_known(catalog, "fear_greed").known_at
    assert len(told_at[(told_at > first) & (told_at <= max(said))]) == 1
