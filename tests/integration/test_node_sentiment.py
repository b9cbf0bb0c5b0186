"""A node whose model and strategy look at the Fear & Greed index, which a service tells it well or badly."""

import math
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml

from actors.forecaster import ForecastSpec, forecast_bars
from catalog.columns import MINUTE_NS, BarColumns
from catalog.sentiment import SentimentColumns
from configs.load import load_run
from configs.schema import SentimentConfig
from live.history import newest_bars
from live.prepare import history_bars
from live.venue.client import VenueClient
from models.exogenous import ExogenousColumns, KnownSeries
from models.predictor import Predictor
from models.train import train_model
from tests.catalogs import catalog_with
from tests.index_service import DAY, TODAY, Turn, document, entry, reply, service, silent
from tests.live_nodes import Node, Rehearsal, rehearsal, run_file, until
from tests.modelling import INSTRUMENT, SMALL, market

pytestmark = pytest.mark.slow  # processes and sockets against the clock

CLOSE = 2e-3  # 12,000 minutes leave a little of where the history began
DAYS = 40
SENTIMENT = SentimentConfig(publication_delay_minutes=0, max_age_hours=48)


def _minutes(n: int) -> BarColumns:
    bars = market(n, seed=1, reversion=0.05)
    times = bars.ts_event[0] + MINUTE_NS * np.arange(n, dtype=np.int64)
    return BarColumns(times, bars.open, bars.high, bars.low, bars.close, bars.volume)


def _index_of(first_ns: int, days: int) -> tuple[np.ndarray, np.ndarray]:
    """Days (ns of each midnight) from forty before `first_ns` on, and a value for each."""
    found = first_ns // DAY * DAY + DAY * np.arange(-DAYS, days)
    return found, np.random.default_rng(5).integers(10, 90, len(found)).astype(float)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that learned from the index as well, of minutes with a value for each of their days."""
    minutes = _minutes(6000)
    index = ExogenousColumns.of_days(*_index_of(int(minutes.ts_event[0]), 7), SENTIMENT)
    return train_model(
        minutes,
        instrument=INSTRUMENT,
        config=SMALL.model_copy(update={"name": "direction", "exogenous": ("fear_greed",)}),
        bar_minutes=1,
        seed=1,
        data_hash="1",
        root=tmp_path_factory.mktemp("bundle"),
        exogenous=index,
    )


def _run(folder: Path, bundle: Path, url: str) -> Path:
    (folder / "none").mkdir()  # the catalog
    signal = {
        "threshold": 0.5,
        "full_confidence": 0.6,
        "threshold_shift": 0.0,
        "extreme_greed": 101,
        "extreme_fear": -1,
    }
    path = run_file(folder, use="ml_sentiment", name="moody", model="direction", signal=signal)
    path.write_text(
        path.read_text()
        + f"models:\n- name: direction\n  bundle: {bundle}\n  exogenous: [fear_greed]\n"
        + "  label: {horizon_bars: 6, take_profit_pct: 0.3, stop_loss_pct: 0.3, cost_bps: 2}\n"
        + f"sentiment: {{url: '{url}', poll_secs: 1, timeout_secs: 1, publication_delay_minutes: 0}}\n"
    )
    return path


def _history(newest: int) -> Turn:
    """Forty days, the newest of today."""
    older = [entry(str(20 + i), TODAY - i * DAY) for i in range(1, DAYS)]
    return reply(document(entry(str(newest)), *older))


def _columns(newest: int) -> ExogenousColumns:
    days = [TODAY - i * DAY for i in range(DAYS - 1, -1, -1)]
    values = [20.0 + i for i in range(DAYS - 1, 0, -1)] + [float(newest)]
    return ExogenousColumns(KnownSeries(days, values), SENTIMENT)


def _events(node: Node) -> list[dict[str, Any]]:
    return [r["detail"] for r in node.audit() if r["kind"] == "sentiment"]


def _forecasts(node: Node) -> dict[int, float]:
    """By the bar's close (ns UTC)."""
    return {
        r["ts"]: r["detail"]["probability"]
        for r in node.audit()
        if r["kind"] == "forecast" and r["component"] == "forecaster"
    }


def test_the_index_comes_from_a_service_that_fails_in_every_way_first(tmp_path: Path, bundle: Path) -> None:
    gate = threading.Event()

    def held(handler: Any) -> None:
        gate.wait(60)
        _history(35)(handler)

    failing = reply(b"", status=500)
    html = reply(b"<html>busy</html>", kind="text/html")
    script = [failing, failing, html, silent, failing, _history(40), _history(40), _history(40), held]
    with service(*script, _history(35)) as said, rehearsal(history=12_000) as venue:
        run, state = _run(tmp_path, bundle, said.url), tmp_path / "state"
        with Node(run, state, venue) as node:
            node.until_trading()
            until(lambda: any(e["event"] == "known" for e in _events(node)), "the first value")
            events = _events(node)
            reasons = [e.get("reason", "") for e in events if e["event"] == "poll_failed"]
            assert any("status 500" in reason for reason in reasons)
            assert any("'text/html' instead of" in reason for reason in reasons)
            assert any("Timeout" in reason for reason in reasons)
            alarms = [r["detail"]["text"] for r in node.audit() if r["kind"] == "alarm"]
            assert "fear_greed: no value younger than 48 h: what rests on it has no opinion" in alarms
            assert "warning: sentiment:" in "".join(node.lines)  # and preflight has said so
            bars = [r["kind"] == "bar" for r in node.audit()]
            assert any(bars)
            early = dict(_forecasts(node))
            until(lambda: len(_forecasts(node)) >= len(early) + 3, "forecasts")
            until(lambda: said.asked >= 9, "polls")
            known = [e["value"] for e in _events(node) if e["event"] == "known"]
            assert known == [40.0]  # the same value again is no news
            with VenueClient(venue.facts["http"]) as client:
                all_bars = newest_bars(client, "BTCUSDT", "1m", 14_000)
            first = dict(_forecasts(node))
            gate.set()
            until(lambda: {"event": "known", "value": 35.0} in _events(node), "a correction")
            until(lambda: len(_forecasts(node)) >= len(first) + 2, "forecasts")
            assert node.end() == 0, "".join(node.lines)
            _compare(bundle, run, all_bars, first)


def _compare(bundle: Path, run: Path, bars: BarColumns, said: dict[int, float]) -> None:
    """The forecasts are those of the same bars and the same index, of a history as long as the node's."""
    model = Predictor.load(bundle)
    known = dict(zip(_columns(40).names, _columns(40).at(TODAY), strict=True))
    assert known["fear_greed"] == 40.0
    assert not any(map(math.isnan, known.values()))
    lookups = {name: (lambda _, value=value: value) for name, value in known.items()}
    count = history_bars(load_run(run), {INSTRUMENT: ForecastSpec(1, (model,), exogenous=lookups)})
    mine = bars.slice(max(0, len(bars) - count), len(bars))
    offline = dict(zip(mine.ts_event.tolist(), forecast_bars(model, mine, lookups).tolist(), strict=True))
    shared = sorted(set(said) & set(offline))
    assert len(shared) >= 3
    for ts in shared:
        assert said[ts] == pytest.approx(offline[ts], abs=CLOSE)


def test_a_rehearsal_that_others_made_needs_an_address_of_the_index(tmp_path: Path, bundle: Path) -> None:
    with rehearsal(history=12_000) as venue:
        run = _run(tmp_path, bundle, "x")
        run.write_text(run.read_text().replace("url: 'x', ", ""))
        with Node(run, tmp_path / "state", venue) as node:
            assert node.process.wait(60) == 2
            node._reader.join(10)
            assert "sentiment.url is not set" in " ".join("".join(node.lines).split())


class _Nowhere(Rehearsal):
    """No venue is named: the node makes a rehearsal for itself."""

    settings: ClassVar[list[str]] = []  # type: ignore[misc,assignment]


def test_a_rehearsal_of_its_own_replays_the_catalogs_index_with_its_market(
    tmp_path: Path, bundle: Path
) -> None:
    minutes = _minutes(16_000)
    catalog = catalog_with(tmp_path / "catalog", columns=minutes)
    days, values = _index_of(int(minutes.ts_event[0]), 12)
    catalog.write_sentiment("fear_greed", SentimentColumns(days, values))
    start_ns = int(minutes.ts_event[12_000])
    run, state = _run(tmp_path, bundle, "x"), tmp_path / "state"
    told = yaml.safe_load(run.read_text())
    told["sentiment"].pop("url")
    told["data"] |= {
        "catalog": str(tmp_path / "catalog"),
        "start": _text(int(minutes.ts_event[0]) - MINUTE_NS),
        "test_start": _text(start_ns),
        "end": _text(int(minutes.ts_event[-1])),
    }
    run.write_text(yaml.safe_dump(told))
    with Node(run, state, _Nowhere({}), "--speed", "60") as node:
        node.until_trading()
        until(lambda: _events(node), "the value of the replayed day")
        assert _events(node)[0] == {"event": "known", "value": values[days <= start_ns][-1]}
        until(lambda: len(_forecasts(node)) >= 3, "forecasts")
        assert node.end() == 0, "".join(node.lines)


def _text(ts_ns: int) -> str:
    return f"{datetime.fromtimestamp(ts_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%SZ}"
