"""The index of a node: the catalog's until now, or replayed with the market; what preflight says of it."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.forecaster import ForecastSpec
from catalog.columns import utc_ns
from catalog.sentiment import SentimentColumns
from catalog.store import Catalog
from configs.errors import DataError
from configs.schema import RunConfig
from live.checks.report import Context, Row, Setup
from live.checks.sentiment import check_sentiment
from live.outside import Outside, no_columns
from live.venue.client import VenueClient
from live.venues import VenueKind
from tests.index_service import DAY, HOUR, TODAY, Turn, document, entry, reply, service

NAME = "BTCUSDT-PERP.BINANCE"
SPEC_NAMES = ("fear_greed", "fear_greed_mean_30d")


def run_of(catalog: Path, **sentiment: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "t",
            "data": {
                "catalog": str(catalog),
                "start": "2025-01-01",
                "test_start": "2025-03-01",
                "end": "2025-03-04",
            },
            "strategies": [{"use": "ml_basic", "instrument": NAME}],
            "sentiment": sentiment,
        }
    )


def specs_of(outside: Outside, *names: str) -> dict[str, ForecastSpec]:
    return {NAME: ForecastSpec(1, features=("return_1", *names), exogenous=outside.columns.lookups())}


def with_days(catalog: Path, first: int, values: list[float]) -> None:
    days = np.array([first + i * DAY for i in range(len(values))], np.int64)
    Catalog.create(catalog).write_sentiment("fear_greed", SentimentColumns(days, np.array(values)))


def test_the_catalogs_values_until_now_are_known(tmp_path: Path) -> None:
    with_days(tmp_path, TODAY - 2 * DAY, [10.0, 20.0, 30.0])
    run = run_of(tmp_path, url="http://127.0.0.1:9/")
    outside = Outside(no_columns(run))
    now = TODAY + HOUR - 1  # an hour after midnight is when the day's value becomes known
    outside.begin(run, specs_of(outside, "fear_greed"), now)
    assert (outside.used, outside.is_followed, outside.replayed) == (("fear_greed",), True, False)
    assert outside.columns.at(now)[0] == 20.0
    assert len(outside.columns.series) == 2


@pytest.mark.parametrize("make", [False, True])
def test_a_catalog_without_the_index_leaves_it_to_the_service(tmp_path: Path, make: bool) -> None:
    if make:
        Catalog.create(tmp_path / "catalog")
    run = run_of(tmp_path / "catalog", url="http://127.0.0.1:9/")
    outside = Outside(no_columns(run))
    outside.begin(run, specs_of(outside, "fear_greed"))
    assert len(outside.columns.series) == 0
    assert outside.is_followed


def test_nothing_is_followed_where_nothing_says_it(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    outside = Outside(no_columns(run))
    outside.begin(run, specs_of(outside, "fear_greed"))
    assert not outside.is_followed


def test_a_replayed_index_meets_each_bar_as_in_a_backtest(tmp_path: Path) -> None:
    start, shift = utc_ns(run_of(tmp_path).data.test_start), 987 * 60 * 10**9
    with_days(tmp_path, start - 40 * DAY, [float(10 + i) for i in range(50)])
    run = run_of(tmp_path)
    outside = Outside(no_columns(run))
    outside.replay(run, specs_of(outside, "fear_greed"), shift)
    assert outside.is_followed
    for bar in (start, start + HOUR - 1, start + HOUR, start + 2 * DAY + HOUR):
        # day 40 of the list begins at `start`; an hour later its value is known
        expected = 10.0 + (bar - HOUR - (start - 40 * DAY)) // DAY
        assert outside.columns.at(bar + shift)[0] == expected
        assert outside.columns.at(bar + shift)[1] == 7.0  # points gained in a week


def test_a_replay_without_the_index_says_how_to_get_it(tmp_path: Path) -> None:
    Catalog.create(tmp_path)
    run = run_of(tmp_path)
    outside = Outside(no_columns(run))
    with pytest.raises(DataError, match="--kind sentiment"):
        outside.replay(run, specs_of(outside, "fear_greed"), 0)
    outside.replay(run, specs_of(outside), 0)  # nobody looks at it
    assert not outside.is_followed


# -- what preflight says


def checked(run: RunConfig, *names: str, known: bool = True, replayed: bool = False) -> Row:
    outside = Outside(no_columns(run), replayed=replayed)
    specs = specs_of(outside, *names)
    if not replayed:
        outside.begin(run, specs)
    setup = Setup(
        run=run,
        kind=VenueKind.LIVE,
        folder=Path("none"),
        specs=lambda: specs,
        history_bars=lambda _: 0,
        outside=outside if known else None,
    )
    with VenueClient("http://127.0.0.1:9") as client:
        row = check_sentiment(Context(setup, client))
    assert math.isnan(outside.columns.at(time.time_ns())[0]) or len(outside.columns.series)
    return row


def answer(days: int) -> Turn:
    return reply(document(*(entry(str(40 + i), TODAY - i * DAY) for i in range(days))))


def test_nobody_looks_at_it(tmp_path: Path) -> None:
    assert checked(run_of(tmp_path)).outcome == "ok"
    assert checked(run_of(tmp_path), "fear_greed", known=False).outcome == "ok"
    assert checked(run_of(tmp_path), "fear_greed", replayed=True).outcome == "ok"


@pytest.mark.parametrize("url", [None, "api.alternative.me/fng/"])
def test_without_an_address_the_node_does_not_start(tmp_path: Path, url: str | None) -> None:
    row = checked(run_of(tmp_path, url=url), "fear_greed")
    assert row.outcome == "failed"
    assert "sentiment.url" in row.advice


def test_a_service_with_enough_days_is_right(tmp_path: Path) -> None:
    with service(answer(40)) as said:
        row = checked(run_of(tmp_path, url=said.url, publication_delay_minutes=0), *SPEC_NAMES)
    assert (row.outcome, row.found[:7]) == ("ok", "40, due")


def test_too_few_days_for_the_mean_of_a_month_are_told(tmp_path: Path) -> None:
    with service(answer(3)) as said:
        run = run_of(tmp_path, url=said.url, publication_delay_minutes=0)
        assert checked(run, "fear_greed").outcome == "ok"
        row = checked(run, *SPEC_NAMES)
        assert row.outcome == "warned"
        assert "without fear_greed_mean_30d" in row.found
        with_days(tmp_path, TODAY - 30 * DAY, [50.0] * 28)  # with the catalog's it is enough
        assert checked(run, *SPEC_NAMES).outcome == "ok"


def test_a_service_that_fails_is_told_and_the_node_may_start(tmp_path: Path) -> None:
    with service(reply(b"", status=503)) as said:
        row = checked(run_of(tmp_path, url=said.url), "fear_greed")
    assert row.outcome == "warned"
    assert "status 503" in row.found
    assert "no value yet" in row.found


def test_an_index_that_stands_still_is_told(tmp_path: Path) -> None:
    with service(reply(document(entry("40", TODAY - 9 * DAY)))) as said:
        row = checked(run_of(tmp_path, url=said.url, publication_delay_minutes=0), "fear_greed")
    assert row.outcome == "warned"
    assert "48 h are allowed" in row.found
