"""The groups of a run refuse what makes no sense and are frozen."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from configs.schema import BAR_MINUTES, DataConfig, ModelConfig, RunConfig, SplitConfig, StrategyConfig

DATA = {"catalog": "data/x", "start": "2025-01-01", "test_start": "2025-01-02", "end": "2025-01-03"}
BTC, ETH, SPOT = "BTCUSDT-PERP.BINANCE", "ETHUSDT-PERP.BINANCE", "BTCUSDT.BINANCE"


def _run(*instruments: str, **changes: Any) -> RunConfig:
    strategies = [{"use": "ml_basic", "instrument": name} for name in instruments]
    return RunConfig.model_validate({"name": "x", "data": DATA, "strategies": strategies} | changes)


def test_a_group_is_frozen_and_refuses_unknown_keys() -> None:
    run = _run(BTC)
    with pytest.raises(ValidationError, match="frozen"):
        run.seed = 8
    with pytest.raises(ValidationError, match="Extra inputs"):
        _run(BTC, other=1)


@pytest.mark.parametrize("bar", sorted(BAR_MINUTES))
def test_a_bar_knows_its_minutes(bar: str) -> None:
    minutes = DataConfig.model_validate(DATA | {"bar": bar}).bar_minutes
    unit = {"m": 1, "h": 60}[bar[-1]]
    assert minutes == int(bar[:-1]) * unit


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2025-01-01", datetime(2025, 1, 1, tzinfo=UTC)),
        (date(2025, 1, 1), datetime(2025, 1, 1, tzinfo=UTC)),
        (datetime(2025, 1, 1, 6), datetime(2025, 1, 1, 6, tzinfo=UTC)),
        ("2025-01-01T06:00", datetime(2025, 1, 1, 6, tzinfo=UTC)),
        ("2025-01-01T06:00Z", datetime(2025, 1, 1, 6, tzinfo=UTC)),
        ("2025-01-01T06:00-02:00", datetime(2025, 1, 1, 8, tzinfo=UTC)),
    ],
)
def test_a_time_without_a_zone_is_utc(written: object, expected: datetime) -> None:
    assert DataConfig.model_validate(DATA | {"start": written}).start == expected


@pytest.mark.parametrize(
    "written", ["yesterday", "2025-02-30", 20250101, 1.5, None, True, "1969-12-31", "9999-01-01"]
)
def test_a_time_that_is_none_is_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        DataConfig.model_validate(DATA | {"start": written})


@pytest.mark.parametrize(
    "change", [{"test_start": "2025-01-01"}, {"end": "2025-01-02"}, {"end": "2024-01-01"}]
)
def test_periods_must_follow_each_other(change: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="needs start < test_start < end"):
        DataConfig.model_validate(DATA | change)


def test_instruments_are_listed_once_in_the_order_of_the_strategies() -> None:
    assert _run(ETH, BTC).instruments == (ETH, BTC)


@pytest.mark.parametrize(
    "name", ["BTCUSDT", "btcusdt-perp.binance", "BTCUSDT-PERP.BYBIT", "BTC/USDT", "", "../x"]
)
def test_a_foreign_instrument_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"write BTCUSDT-PERP\.BINANCE"):
        _run(name)


def test_one_strategy_per_instrument_and_one_market_per_run() -> None:
    twice = [{"use": "a", "instrument": BTC}, {"use": "b", "instrument": BTC}]
    with pytest.raises(ValidationError, match="one strategy per instrument"):
        _run(strategies=twice)
    with pytest.raises(ValidationError, match="cannot share one account"):
        _run(BTC, SPOT)


def test_names_differ_and_a_model_asked_for_exists() -> None:
    with pytest.raises(ValidationError, match="two entries are called model 'm'"):
        _run(BTC, models=[{"name": "m"}, {"name": "m"}])
    same = [{"use": "a", "instrument": i, "name": "s"} for i in (BTC, ETH)]
    with pytest.raises(ValidationError, match="two entries are called strategy 's'"):
        _run(strategies=same)
    wants = [{"use": "a", "instrument": BTC, "model": "m"}]
    with pytest.raises(ValidationError, match="asks for model 'm'; known: none"):
        _run(strategies=wants)
    assert _run(strategies=wants, models=[{"name": "m"}]).models == (ModelConfig(name="m"),)


def test_a_strategy_is_called_by_its_use_and_symbol_unless_named() -> None:
    assert StrategyConfig(use="ml_basic", instrument=BTC).label == "ml_basic-BTCUSDT-PERP"
    assert StrategyConfig(use="ml_basic", instrument=BTC, name="mine").label == "mine"


def test_the_shares_of_the_training_period_leave_a_test_part() -> None:
    with pytest.raises(ValidationError, match="leave a part over"):
        SplitConfig(train=0.8, validation=0.1, calibration=0.1)


@pytest.mark.parametrize("name", ["", ".hidden", "../x", "a/b", "a b", "ü", "-x"])
def test_a_name_that_is_no_safe_file_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="use letters, digits"):
        _run(BTC, name=name)


@pytest.mark.parametrize(
    ("group", "values"),
    [
        ("venue", {"leverage": 0.5}),
        ("venue", {"leverage": 126}),
        ("venue", {"taker_fee_bps": -1}),
        ("venue", {"slippage_bps": -0.1}),
        ("venue", {"starting_balance": 0}),
        ("venue", {"starting_balance": float("nan")}),
        ("venue", {"latency_ms": -1}),
        ("venue", {"funding": True}),
        ("risk", {"max_leverage": float("inf")}),
        ("data", DATA | {"max_gap_minutes": -1}),
        ("data", DATA | {"catalog": ""}),
        ("data", DATA | {"catalog": "a\0b"}),
        ("data", DATA | {"synthetic": {"seed": 2**31}}),
    ],
)
def test_a_value_out_of_its_range_is_refused_and_named(group: str, values: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        _run(BTC, **{group: values})
    assert caught.value.errors()[0]["loc"][0] == group


def test_the_traded_period_begins_where_a_bar_opens():
    with pytest.raises(ValidationError, match="test_start must be a time at which a 5m bar opens"):
        DataConfig(catalog="c", bar="5m", start="2025-01-01", test_start="2025-01-02T00:03", end="2025-01-03")
