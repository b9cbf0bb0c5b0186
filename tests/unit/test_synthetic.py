"""The synthetic market has the facts it claims, and its catalog never mixes with other data."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from catalog.store import BarColumns, Catalog
from catalog.synthetic import MARKER_NAME, SyntheticMarket, ensure_synthetic, make_market
from configs.errors import ConfigError, DataError
from configs.schema import RunConfig, SyntheticConfig

MONDAY_NS = 1_704_067_200 * 10**9  # 2024-01-01, a Monday
MINUTE_NS = 60 * 10**9
BTC, ETH = "BTCUSDT-PERP.BINANCE", "ETHUSDT-PERP.BINANCE"
COLUMNS = ("ts_event", "open", "high", "low", "close", "volume")


@cache
def year(seed: int, strength: float) -> SyntheticMarket:
    config = SyntheticConfig(seed=seed, days=365, signal_strength=strength)
    return make_market(config, start_ns=MONDAY_NS, bar_minutes=1, tick=0.1, step=0.001)


def log_returns(market: SyntheticMarket) -> NDArray[np.float64]:
    return np.diff(np.log(market.bars.close))


def autocorrelation(x: NDArray[np.float64], lag: int) -> float:
    return float(np.corrcoef(x[:-lag], x[lag:])[0, 1])


def signal_t_value(market: SyntheticMarket) -> float:
    """t of the score in a regression of the next minute's return in units of the local volatility."""
    returns = log_returns(market)[1000:]
    local = np.sqrt(np.convolve(returns**2, np.ones(60) / 60, "full")[: len(returns)])[60:-1]
    x, y = market.score[1061:-1], returns[61:] / local
    x = x - x.mean()
    slope = (x @ y) / (x @ x)
    residual = y - y.mean() - slope * x
    return float(slope / np.sqrt(residual @ residual / (len(x) - 2) / (x @ x)))


def horizon_correlation(market: SyntheticMarket, minutes: int = 120) -> float:
    log_close = np.log(market.bars.close)
    return float(np.corrcoef(market.score[:-minutes], log_close[minutes:] - log_close[:-minutes])[0, 1])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_returns_have_fat_tails_and_clustered_volatility_but_no_autocorrelation(seed: int) -> None:
    returns = log_returns(year(seed, 0.0))
    centred = returns - returns.mean()
    assert np.mean(centred**4) / np.mean(centred**2) ** 2 > 5  # a normal has 3
    sizes = np.minimum(np.abs(returns), np.quantile(np.abs(returns), 0.999))
    assert autocorrelation(sizes, 1) > 0.15
    assert autocorrelation(sizes, 60) > 0.1
    # heavy tails and clustering widen the standard error of 1/sqrt(n) about threefold
    assert abs(autocorrelation(returns, 1)) < 4 * 3 / np.sqrt(len(returns))


def test_annual_volatility_is_near_the_configured_one() -> None:
    realised = [float(log_returns(year(seed, 0.0)).std() * np.sqrt(525_600)) for seed in (1, 2, 3)]
    assert np.mean(realised) == pytest.approx(0.6, rel=0.06)


def test_doubling_the_volatility_doubles_every_log_return() -> None:
    calm, wild = (
        make_market(
            SyntheticConfig(seed=5, days=5, annual_volatility=v, start_price=1e9),
            start_ns=MONDAY_NS,
            bar_minutes=1,
            tick=0.001,
            step=0.00001,
        )
        for v in (0.4, 0.8)
    )
    # the martingale's correction, half the variance, is what does not double
    np.testing.assert_allclose(log_returns(wild), 2 * log_returns(calm), atol=2e-5)


def test_volatility_and_volume_follow_the_hour_and_the_weekday_in_utc() -> None:
    bars = year(1, 0.0).bars
    opens = bars.ts_event[1:] - MINUTE_NS
    hour, weekday = opens // (60 * MINUTE_NS) % 24, (opens // (1440 * MINUTE_NS) + 3) % 7
    size = np.abs(np.diff(np.log(bars.close)))
    for values in (size, bars.volume[1:]):
        by_hour = np.array([np.median(values[hour == h]) for h in range(24)])
        assert by_hour[13:17].min() > 1.3 * by_hour[2:6].max()
        assert np.median(values[weekday < 5]) > 1.1 * np.median(values[weekday >= 5])


def test_turbulent_minutes_move_twice_as_much_and_regimes_last() -> None:
    market = year(2, 0.0)
    size = np.abs(log_returns(market))
    turbulent = market.turbulent[1:]
    ratio = np.median(size[turbulent]) / np.median(size[~turbulent])
    assert 1.6 < ratio < 2.4
    for regime, share in ((market.turbulent, 0.25), (market.trending, 0.4)):
        assert regime.mean() == pytest.approx(share, abs=0.12)
        assert 100 < len(regime) / (np.diff(regime.astype(int)) != 0).sum() < 10_000


def test_jumps_come_about_twice_a_day() -> None:
    returns = log_returns(year(3, 0.0))
    local = np.sqrt(np.convolve(returns**2, np.ones(121), "same") - returns**2) / np.sqrt(120)
    # a normal jump of six sigmas passes five local ones in some 40 % of all cases, other minutes hardly ever
    per_day = (np.abs(returns) > 5 * local).sum() / 365
    assert 0.4 < per_day < 2.0


def test_bigger_moves_come_with_more_volume() -> None:
    bars = year(1, 0.0).bars
    assert np.corrcoef(np.abs(np.diff(np.log(bars.close))), np.log(bars.volume[1:]))[0, 1] > 0.3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_without_signal_the_past_says_nothing_about_the_next_return(seed: int) -> None:
    market = year(seed, 0.0)
    assert abs(signal_t_value(market)) < 3.5
    returns = log_returns(market)
    past = np.convolve(returns, np.ones(120), "full")[: len(returns)]
    t = np.corrcoef(past[200:-1], returns[201:])[0, 1] * np.sqrt(len(returns))
    assert abs(t) < 3.5


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_strength_one_plants_a_weak_signal_and_strength_two_a_stronger_one(seed: int) -> None:
    noise = horizon_correlation(year(seed, 0.0))
    weak = horizon_correlation(year(seed, 1.0)) - noise
    assert 0.05 < weak < 0.12
    assert signal_t_value(year(seed, 1.0)) > 8
    assert horizon_correlation(year(seed, 2.0)) - noise > 1.4 * weak


def test_the_signal_is_a_function_of_past_bars() -> None:
    """Reversion and volume-weighted continuation, rebuilt from closes and volumes, explain the score."""
    market = year(1, 1.0)
    log_close, log_volume = np.log(market.bars.close), np.log(market.bars.volume)
    returns = np.diff(log_close, prepend=log_close[0])
    kernel = np.exp(-np.arange(600) / 120)
    move = log_close - np.convolve(log_close, kernel / kernel.sum(), "full")[: len(log_close)]
    scale = np.sqrt(np.convolve(returns**2, np.ones(240) / 240, "full")[: len(returns)])
    usual = np.convolve(log_volume, np.ones(480) / 480, "full")[: len(log_volume)]
    burst = np.maximum(log_volume - usual, 0) * np.clip(returns / (scale + 1e-12), -4, 4)
    flow = np.convolve(burst, np.exp(-np.arange(300) / 45) / 45, "full")[: len(burst)]
    x = np.column_stack([np.tanh(move / (scale * np.sqrt(60) + 1e-12)), np.tanh(5 * flow)])
    for regime in (market.trending, ~market.trending):
        chosen = np.flatnonzero(regime)[3000:]
        inputs, score = x[chosen] - x[chosen].mean(axis=0), market.score[chosen]
        weights, *_ = np.linalg.lstsq(inputs, score - score.mean(), rcond=None)
        assert weights[0] < 0 < weights[1]
        assert np.corrcoef(inputs @ weights, score)[0, 1] > 0.6


def test_a_seed_repeats_bit_by_bit_and_another_seed_differs() -> None:
    def make(seed: int) -> SyntheticMarket:
        config = SyntheticConfig(seed=seed, days=3, signal_strength=1.0)
        return make_market(config, start_ns=MONDAY_NS, bar_minutes=1, tick=0.1, step=0.001)

    first, again, other = make(7), make(7), make(8)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(first.bars, name), getattr(again.bars, name))
    np.testing.assert_array_equal(first.funding.rate, again.funding.rate)
    assert (first.bars.close != other.bars.close).mean() > 0.99


def test_longer_bars_are_the_same_market_put_together() -> None:
    def make(minutes: int) -> BarColumns:
        config = SyntheticConfig(seed=3, days=2)
        return make_market(config, start_ns=MONDAY_NS, bar_minutes=minutes, tick=0.01, step=0.001).bars

    one, quarter = make(1), make(15)
    np.testing.assert_array_equal(quarter.open, one.open[::15])
    np.testing.assert_array_equal(quarter.close, one.close[14::15])
    np.testing.assert_array_equal(quarter.high, one.high.reshape(-1, 15).max(axis=1))
    np.testing.assert_array_equal(quarter.low, one.low.reshape(-1, 15).min(axis=1))
    np.testing.assert_array_equal(quarter.ts_event, one.ts_event[14::15])
    np.testing.assert_allclose(quarter.volume, one.volume.reshape(-1, 15).sum(axis=1), atol=15 * 0.001)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    strength=st.floats(0, 20),
    price=st.floats(50, 1e6),
    volatility=st.floats(0.01, 3.0),
    minutes=st.sampled_from([1, 3, 5, 15, 30, 60, 240]),
    tick=st.sampled_from([(0.1, 1), (0.01, 2), (0.05, 2), (0.25, 2)]),
    step=st.sampled_from([(0.001, 3), (1.0, 0), (0.00001, 5)]),
)
def test_bars_are_consistent_and_on_the_grid_for_any_settings(
    seed: int,
    strength: float,
    price: float,
    volatility: float,
    minutes: int,
    tick: tuple[float, int],
    step: tuple[float, int],
) -> None:
    config = SyntheticConfig(
        seed=seed, days=2, signal_strength=strength, start_price=price, annual_volatility=volatility
    )
    market = make_market(config, start_ns=MONDAY_NS, bar_minutes=minutes, tick=tick[0], step=step[0])
    bars = market.bars
    assert len(bars) == 2 * 1440 // minutes == len(market.score)
    assert bars.ts_event[0] == MONDAY_NS + minutes * MINUTE_NS
    assert (np.diff(bars.ts_event) == minutes * MINUTE_NS).all()
    assert (bars.low <= np.minimum(bars.open, bars.close)).all()
    assert (bars.high >= np.maximum(bars.open, bars.close)).all()
    assert bars.open[0] == pytest.approx(price, abs=tick[0])
    np.testing.assert_array_equal(bars.open[1:], bars.close[:-1])
    for column, (size, digits) in ((bars.close, tick), (bars.high, tick), (bars.volume, step)):
        # each value is the very float its decimal text names, and a whole number of steps
        assert all(float(f"{value:.{digits}f}") == value for value in column[:200])
        steps = column / size
        np.testing.assert_allclose(steps, np.rint(steps), rtol=1e-12)
    assert (bars.volume > 0).all()


def test_volume_leaves_room_for_orders_of_fifty_thousand_at_a_quarter_of_a_bar() -> None:
    bars = year(1, 0.0).bars
    assert (bars.volume * bars.close / 4).min() > 100_000
    assert np.median(bars.volume * bars.close) < 10_000_000


def test_funding_settles_three_times_a_day_and_follows_the_trend() -> None:
    market = year(1, 0.0)
    times, rates = market.funding.ts_event, market.funding.rate
    assert times[0] == MONDAY_NS
    assert (np.diff(times) == 8 * 60 * MINUTE_NS).all()
    assert len(times) == 3 * 365
    assert np.median(rates) == 0.0001
    assert np.abs(rates).max() <= 0.0075
    log_open = np.log(market.bars.open)
    at = (times[3:] - MONDAY_NS) // MINUTE_NS
    assert np.corrcoef(log_open[at] - log_open[at - 1440], rates[3:])[0, 1] > 0.3


def test_funding_of_a_market_that_begins_between_settlements_starts_at_the_next_one() -> None:
    config = SyntheticConfig(days=1)
    start = MONDAY_NS + 60 * MINUTE_NS
    market = make_market(config, start_ns=start, bar_minutes=1, tick=0.1, step=0.001)
    hours = (market.funding.ts_event - MONDAY_NS) // (60 * MINUTE_NS)
    assert hours.tolist() == [8, 16, 24]


def test_settings_that_no_grid_can_hold_are_refused() -> None:
    with pytest.raises(ConfigError, match="start_price"):
        make_market(
            SyntheticConfig(days=1, start_price=0.01), start_ns=0, bar_minutes=1, tick=0.1, step=0.001
        )
    with pytest.raises(ConfigError, match="annual_volatility"):
        make_market(
            SyntheticConfig(days=30, annual_volatility=500), start_ns=0, bar_minutes=1, tick=0.1, step=0.001
        )
    with pytest.raises(ConfigError, match="15-minute"):
        make_market(SyntheticConfig(days=1), start_ns=MINUTE_NS, bar_minutes=15, tick=0.1, step=0.001)


def a_run(
    catalog: Path, *instruments: str, synthetic: dict[str, Any] | None = None, **data: Any
) -> RunConfig:
    period = {"start": "2024-01-01", "test_start": "2024-01-02", "end": "2024-01-04"}
    market = {"days": 3, "signal_strength": 1.0} | (synthetic or {})
    return RunConfig.model_validate(
        {
            "name": "demo",
            "data": {"catalog": catalog, "bar": "5m", "synthetic": market} | period | data,
            "strategies": [{"use": "ml_basic", "instrument": name} for name in instruments or (BTC,)],
        }
    )


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_catalog_is_made_once_and_holds_the_whole_market(tmp_path: Path) -> None:
    run = a_run(tmp_path / "demo", BTC, ETH)
    assert ensure_synthetic(run) is True
    before = folder_bytes(tmp_path)
    assert ensure_synthetic(run) is False
    assert folder_bytes(tmp_path) == before
    catalog = Catalog.open(tmp_path / "demo")
    assert catalog.instrument_ids() == [BTC, ETH]
    end = MONDAY_NS + 3 * 1440 * MINUTE_NS
    for name in (BTC, ETH):
        catalog.require_bars(name, "5m", MONDAY_NS, end, max_gap_minutes=0)
        assert len(catalog.funding(name)) == 9
    btc, eth = (np.diff(np.log(catalog.bars(name, "5m").close)) for name in (BTC, ETH))
    assert abs(np.corrcoef(btc, eth)[0, 1]) < 0.2


def test_an_instruments_market_does_not_depend_on_the_others_of_the_run(tmp_path: Path) -> None:
    ensure_synthetic(a_run(tmp_path / "one", ETH))
    ensure_synthetic(a_run(tmp_path / "two", BTC, ETH))
    one, two = (Catalog.open(tmp_path / name).bars(ETH, "5m") for name in ("one", "two"))
    np.testing.assert_array_equal(one.close, two.close)


def test_spot_has_no_funding(tmp_path: Path) -> None:
    ensure_synthetic(a_run(tmp_path / "demo", "BTCUSDT.BINANCE"))
    catalog = Catalog.open(tmp_path / "demo")
    assert len(catalog.bars("BTCUSDT.BINANCE", "5m")) == 3 * 288
    assert len(catalog.funding("BTCUSDT.BINANCE")) == 0


def test_nothing_happens_without_synthetic_settings(tmp_path: Path) -> None:
    run = a_run(tmp_path / "demo")
    without = run.model_copy(update={"data": run.data.model_copy(update={"synthetic": None})})
    assert ensure_synthetic(without) is False
    assert list(tmp_path.iterdir()) == []


def test_other_settings_replace_a_catalog_made_by_this_function(tmp_path: Path) -> None:
    ensure_synthetic(a_run(tmp_path / "demo"))
    old = Catalog.open(tmp_path / "demo").bars(BTC, "5m")
    assert ensure_synthetic(a_run(tmp_path / "demo", synthetic={"seed": 8})) is True
    new = Catalog.open(tmp_path / "demo").bars(BTC, "5m")
    assert len(new) == len(old)
    assert (new.close != old.close).any()
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_further_instrument_or_bar_leaves_those_already_made_as_they_are(tmp_path: Path) -> None:
    ensure_synthetic(a_run(tmp_path / "demo"))
    before = Catalog.open(tmp_path / "demo").bars(BTC, "5m")
    assert ensure_synthetic(a_run(tmp_path / "demo", ETH, bar="15m")) is True
    catalog = Catalog.open(tmp_path / "demo")
    np.testing.assert_array_equal(catalog.bars(BTC, "5m").close, before.close)
    assert len(catalog.bars(ETH, "15m")) == 3 * 96
    assert ensure_synthetic(a_run(tmp_path / "demo")) is False


def test_a_shorter_period_uses_the_market_that_is_there(tmp_path: Path) -> None:
    ensure_synthetic(a_run(tmp_path / "demo"))
    assert ensure_synthetic(a_run(tmp_path / "demo", start="2024-01-01T12:00")) is False


def test_missing_bars_are_made_again(tmp_path: Path) -> None:
    run = a_run(tmp_path / "demo")
    ensure_synthetic(run)
    next((tmp_path / "demo" / "data" / "bars").rglob("*.parquet")).unlink()
    assert ensure_synthetic(run) is True
    assert len(Catalog.open(tmp_path / "demo").bars(BTC, "5m")) == 3 * 288


def test_real_bars_are_never_replaced_or_taken_for_synthetic_ones(tmp_path: Path) -> None:
    ensure_synthetic(a_run(tmp_path / "demo"))
    (tmp_path / "demo" / MARKER_NAME).unlink()  # now nothing says that they are synthetic
    before = folder_bytes(tmp_path)
    with pytest.raises(DataError, match="set data"):
        ensure_synthetic(a_run(tmp_path / "demo"))
    assert folder_bytes(tmp_path) == before


def test_foreign_bars_in_a_synthetic_catalog_are_kept_and_refused(tmp_path: Path) -> None:
    ensure_synthetic(a_run(tmp_path / "demo"))
    catalog = Catalog.open(tmp_path / "demo")
    bars = catalog.bars(BTC, "5m").slice(0, 12)
    hour = BarColumns(bars.ts_event + 10 * 86_400 * 10**9, *(getattr(bars, n) for n in COLUMNS[1:]))
    catalog.write_bars(BTC, "5m", hour)
    before = folder_bytes(tmp_path)
    for run in (a_run(tmp_path / "demo"), a_run(tmp_path / "demo", synthetic={"seed": 9})):
        with pytest.raises(DataError, match="did not make"):
            ensure_synthetic(run)
    assert folder_bytes(tmp_path) == before


def test_a_damaged_marker_is_refused(tmp_path: Path) -> None:
    run = a_run(tmp_path / "demo")
    ensure_synthetic(run)
    marker = tmp_path / "demo" / MARKER_NAME
    for text in ("{", "[]", json.dumps({"config": {}})):
        marker.write_text(text)
        with pytest.raises(DataError, match=r"synthetic\.json"):
            ensure_synthetic(run)


def test_a_failed_build_leaves_nothing_and_an_old_catalog_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "write_bars", full_disk)
        with pytest.raises(OSError, match="No space"):
            ensure_synthetic(a_run(tmp_path / "demo"))
    assert list(tmp_path.iterdir()) == []
    ensure_synthetic(a_run(tmp_path / "demo"))
    before = folder_bytes(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "write_bars", full_disk)
        with pytest.raises(OSError, match="No space"):
            ensure_synthetic(a_run(tmp_path / "demo", synthetic={"seed": 8}))
    assert folder_bytes(tmp_path) == before


def test_a_period_longer_than_the_market_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.synthetic.days is 3.*2024-01-05"):
        ensure_synthetic(a_run(tmp_path / "demo", end="2024-01-05"))
    assert list(tmp_path.iterdir()) == []


def test_an_instrument_without_known_filters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"NOSUCHUSDT.*BTCUSDT"):
        ensure_synthetic(a_run(tmp_path / "demo", "NOSUCHUSDT-PERP.BINANCE"))
    assert list(tmp_path.iterdir()) == []
