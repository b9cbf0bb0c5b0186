"""What a node warms up on: the venue's bars, the catalog's before them, and whether that is enough."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from actors.forecaster import ForecastSpec
from catalog.columns import BarColumns
from catalog.instruments import build_instrument, find_spec
from configs.errors import DataError
from configs.schema import RegimeConfig, RunConfig
from live.checks.report import Row
from live.checks.warm_up import check_warm_up
from live.history import newest_bars, stored_before
from live.prepare import Warmer, history_bars
from live.venue.answers import Kline
from live.venues import VenueKind
from models.settling import unsettled
from tests.catalogs import BTC, JUNE, MINUTE_NS, bars, catalog_with

D = Decimal
MINUTE_MS = 60_000
SLOW = ForecastSpec(1, features=("ema_gap_200",))  # 199 bars to a value, 540 to one within 1 %


def run_of(catalog: Path, **tolerances: float) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "t",
            "data": {
                "catalog": str(catalog),
                "start": "2025-01-01",
                "test_start": "2025-03-01",
                "end": "2025-03-04",
                "max_gap_minutes": 5,
            },
            "strategies": [{"use": "ml_basic", "instrument": BTC}],
            "live": {"tolerances": tolerances},
        }
    )


class Client:
    """A venue that lists `columns` of minutes and has one under way."""

    def __init__(self, columns: BarColumns) -> None:
        self.rows = [
            Kline(
                ts // 10**6 - MINUTE_MS, D(100_000), D(100_001), D(99_999), D(100_000), D(1), ts // 10**6 - 1
            )
            for ts in (*columns.ts_event.tolist(), int(columns.ts_event[-1]) + MINUTE_NS)
        ]

    def klines(
        self, symbol: str, interval: str, *, end_ms: int | None = None, limit: int = 500, **_: object
    ) -> list[Kline]:
        assert (symbol, interval) == ("BTCUSDT", "1m")
        return [row for row in self.rows if end_ms is None or row.open_ms <= end_ms][-limit:]

    def clock(self) -> Any:
        return SimpleNamespace(offset_ms=0.0)


# -- the catalog's bars before the venue's


def test_the_catalogs_bars_join_where_the_venues_begin(tmp_path: Path) -> None:
    catalog_with(tmp_path, columns=bars(300))
    venue = Client(bars(50, 300))
    with ThreadPoolExecutor(1) as pool:
        kept: dict[str, BarColumns] = {}
        warmer = Warmer(run_of(tmp_path), venue, pool, kept.__setitem__)  # type: ignore[arg-type]
        source = warmer.source(BTC, SLOW, build_instrument(find_spec("BTCUSDT", "um")), 320)
    assert kept[BTC].ts_event.tolist() == bars(320, 30).ts_event.tolist()
    assert source.last_ts == JUNE + 350 * MINUTE_NS


def test_where_the_venue_has_enough_the_catalog_is_not_asked(tmp_path: Path) -> None:
    venue = Client(bars(400))
    with ThreadPoolExecutor(1) as pool:
        kept: dict[str, BarColumns] = {}
        warmer = Warmer(run_of(tmp_path / "none"), venue, pool, kept.__setitem__)  # type: ignore[arg-type]
        warmer.source(BTC, SLOW, build_instrument(find_spec("BTCUSDT", "um")), 300)
        assert kept[BTC].ts_event.tolist() == bars(300, 100).ts_event.tolist()
        with pytest.raises(DataError, match="400 closed 1m bars of venue and catalog, warming up takes 959"):
            warmer.source(
                BTC,
                ForecastSpec(1, features=("ema_gap_200", "rsi_14_1h")),
                build_instrument(find_spec("BTCUSDT", "um")),
                1500,
            )


@pytest.mark.parametrize(("stored", "expected"), [(300, 20), (296, 16), (295, 0), (310, 20)])
def test_a_catalog_that_ended_long_before_the_venue_begins_does_not_join(
    tmp_path: Path, stored: int, expected: int
) -> None:
    catalog_with(tmp_path, columns=bars(stored))
    first = int(bars(1, 300).ts_event[0])
    found = stored_before(tmp_path, BTC, "1m", first, 20, max_gap_minutes=5)
    assert len(found) == expected
    assert np.all(found.ts_event < first)


def test_no_catalog_and_no_such_bars_are_none(tmp_path: Path) -> None:
    assert len(stored_before(tmp_path / "none", BTC, "1m", JUNE, 20, max_gap_minutes=5)) == 0
    catalog_with(tmp_path / "made")
    assert len(stored_before(tmp_path / "made", BTC, "1m", JUNE, 20, max_gap_minutes=5)) == 0


def test_newest_bars_are_those_that_have_closed() -> None:
    found = newest_bars(Client(bars(30)), "BTCUSDT", "1m", 10)  # type: ignore[arg-type]
    assert found.ts_event.tolist() == bars(10, 20).ts_event.tolist()


# -- how many are fetched


def test_a_start_fetches_until_no_feature_knows_where_history_began(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    count = history_bars(run, {BTC: SLOW})
    assert unsettled(SLOW.feature_set, count).off <= 1e-4 < unsettled(SLOW.feature_set, count - 1).off
    window = ForecastSpec(1, features=("minmax_position_240",))
    assert history_bars(run, {BTC: window}) == 239 + 500
    regime = ForecastSpec(1, features=("return_3",), regime=RegimeConfig())
    assert history_bars(run, {BTC: regime}) >= 1440 + 30 + 50 + 500


# -- what preflight says


def checked(
    run: RunConfig, own: int, *, kind: VenueKind = VenueKind.LIVE, spec: ForecastSpec = SLOW, since: int = 0
) -> Row:
    now = time.time_ns() // MINUTE_NS * MINUTE_NS - since * MINUTE_NS
    times = now - MINUTE_NS * np.arange(own)[::-1]
    prices = np.full(own, 100_000.0)
    client = Client(BarColumns(times, prices, prices, prices, prices, np.ones(own)))

    def history(symbol: str, count: int) -> list[Kline]:
        assert symbol == "BTCUSDT"
        return client.rows[:-1][-count:]

    specs: Mapping[str, ForecastSpec] = {BTC: spec}
    context: Any = SimpleNamespace(
        run=run,
        specs=specs,
        tolerances=run.live.tolerances,
        setup=SimpleNamespace(kind=kind, history_bars=lambda found: history_bars(run, found)),
        history=history,
        client=client,
    )
    return check_warm_up(context)


def test_with_all_of_its_history_a_feature_is_right(tmp_path: Path) -> None:
    assert checked(run_of(tmp_path), 1200).outcome == "ok"


@pytest.mark.parametrize(("own", "outcome"), [(199, "failed"), (300, "failed"), (620, "warned"), (800, "ok")])
def test_too_short_a_history_is_refused_by_how_far_its_worst_feature_is_off(
    tmp_path: Path, own: int, outcome: str
) -> None:
    row = checked(run_of(tmp_path), own)
    assert row.outcome == outcome
    if 199 < own < 800:
        assert "ema_gap_200 may be off by" in row.found
    if own == 300:
        off = unsettled(SLOW.feature_set, 300).off
        assert 0.05 < off < 0.2
        assert f"{100 * off:.2g} % of its spread" in row.found


def test_who_raises_the_tolerance_may_start(tmp_path: Path) -> None:
    assert checked(run_of(tmp_path, feature_error_pct=20.0), 300).outcome == "warned"


def test_a_rehearsal_with_little_history_is_told(tmp_path: Path) -> None:
    row = checked(run_of(tmp_path), 300, kind=VenueKind.REHEARSAL)
    assert row.outcome == "warned"
    assert "--history" in row.advice


def test_the_hourly_macd_of_minutes_is_refused_on_500_bars_more_than_it_takes(tmp_path: Path) -> None:
    spec = ForecastSpec(1, features=("macd_hist_1h",))
    row = checked(run_of(tmp_path), 2098 + 500, spec=spec)
    assert row.outcome == "failed"
    assert "macd_hist_1h may be off by 34 %" in row.found


def test_the_rank_of_the_regime_is_left_its_own_bars(tmp_path: Path) -> None:
    spec = ForecastSpec(1, features=("ema_gap_200",), regime=RegimeConfig())
    assert checked(run_of(tmp_path), 1470 + 300, spec=spec).outcome == "failed"
    assert checked(run_of(tmp_path), 1470 + 800, spec=spec).outcome == "ok"
