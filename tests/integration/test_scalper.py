"""The scalper on quotes and trades, from its run file through the real engine: entries, exits, costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from nautilus_trader.model import BarType

from actors.audit import decisions_frame, decisions_hash
from actors.faults import raise_failures
from actors.guard import Guard
from actors.messages import AuditRecord
from backtests.ledger import equity_curve, reconcile
from backtests.records import fills_from_engine, orders_from_engine
from backtests.ticks import add_ticks, check_ticks
from backtests.trades import trades
from backtests.venue import BINANCE, build_engine
from catalog.columns import bar_type, utc_ns
from catalog.store import Catalog
from catalog.tick_store import ingest_streams, read_quotes, write_recording
from configs.errors import ConfigError, DataError
from configs.schema import RunConfig
from strategies.assembly import assemble, check_strategies
from tests.hand_market import instrument
from tests.providers import shared_data
from tests.tapes import make_tape

PERP, SPOT = "BTCUSDT-PERP.BINANCE", "BTCUSDT.BINANCE"
RUN_FILE = Path(__file__).resolve().parents[2] / "configs" / "runs" / "btc_ticks_scalper.yaml"
SYNTHETIC = {"start": "2024-01-01T07:50:01", "test_start": "2024-01-01T07:50:35", "end": "2024-01-01T07:54"}


def run_file(catalog: Catalog, **changes: Any) -> RunConfig:
    """The shipped run file on a catalog; `a__b=value` sets the strategy's (or else the run's) group."""
    raw = yaml.safe_load(RUN_FILE.read_text(encoding="utf-8"))
    raw["data"]["catalog"] = str(catalog.path)
    for key, value in changes.items():
        group, _, name = key.partition("__")
        home = raw if group in raw else raw["strategies"][0]
        if not name:
            home[group] = value
        elif isinstance(value, Mapping) and isinstance(home[group].get(name), Mapping):
            home[group][name] |= value
        else:
            home[group][name] = value
    return RunConfig.model_validate(raw)


@dataclass
class Result:
    """A finished run: its books and its audit stream."""

    run: RunConfig
    fills: pd.DataFrame
    orders: pd.DataFrame
    trades: pd.DataFrame
    equity: pd.DataFrame
    records: list[AuditRecord]
    working: int

    def audit(self, kind: str, **detail: Any) -> list[AuditRecord]:
        return [r for r in self.records if r.kind == kind and detail.items() <= r.detail.items()]


def play(run: RunConfig) -> Result:
    catalog, name = Catalog.open(run.data.catalog), run.instruments[0]
    check_strategies(run)
    check_ticks(run, catalog)
    traded = catalog.instrument(name)
    kind = BarType.from_str(bar_type(name, "1s"))
    assembly = assemble(run, {name: traded}, {})
    simulation = build_engine(run, [traded], {})
    engine = simulation.engine
    start, end = utc_ns(run.data.test_start), utc_ns(run.data.end)
    bars = catalog.bars(name, "1s", start, end)
    engine.add_data(catalog.engine_bars(name, "1s", start, end))
    assert add_ticks(engine, run, catalog) > len(bars)
    guard = Guard(
        risk=run.risk,
        bar_types=[kind],
        venue=BINANCE,
        quote_currency=traded.quote_currency,
        margined=name == PERP,
    )
    guard.watch(engine.portfolio)
    for actor in (guard, assembly.audit, *assembly.tapes):
        engine.add_actor(actor)
    for strategy in assembly.strategies:
        engine.add_strategy(strategy)
    engine.run()
    raise_failures([guard, *assembly.components])
    roles = {order: role for s in assembly.strategies for order, role in s.roles.items()}
    fills, orders = fills_from_engine(engine, roles, run.venue), orders_from_engine(engine, roles)
    payments, decisions = simulation.payments(), decisions_frame(assembly.audit.records)
    equity = equity_curve({name: bars}, fills, payments, run.venue.starting_balance, run.venue)
    reconcile(engine, equity, {name: float(bars.close[-1])})
    rows = trades(fills, payments, {name: bars}, orders=orders, decisions=decisions)
    working = len(engine.cache.orders_open()) + len(engine.cache.orders_inflight())
    engine.dispose()
    return Result(run, fills, orders, rows, equity, assembly.audit.records, working)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    catalog = Catalog.create(tmp_path_factory.mktemp("ticks") / "catalog")
    catalog.write_instrument(instrument())
    write_recording(catalog, PERP, make_tape())
    return catalog


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    catalog = Catalog.create(tmp_path_factory.mktemp("recorded") / "catalog")
    paths = [shared_data("ticks", "hftbacktest", m, "btcusdt_20240808.gz") for m in ("usdm", "spot")]
    ingest_streams(paths, catalog=catalog)
    return catalog


def on_synthetic(catalog: Catalog, **changes: Any) -> Result:
    return play(run_file(catalog, **{f"data__{key}": value for key, value in SYNTHETIC.items()} | changes))


def check_books(result: Result) -> None:
    """What holds in every run of the file: maker in, taker out, protected at the planned distances."""
    venue, strategy = result.run.venue, result.run.strategies[0]
    notional = result.fills["price"] * result.fills["quantity"]
    maker = result.fills["role"].isin(["entry", "target"])
    rate = np.where(maker, venue.maker_fee_bps, venue.taker_fee_bps) / 1e4
    # commissions are kept to eight decimals
    assert np.allclose(result.fills["fee"], notional * rate, rtol=0, atol=1e-6)
    closed = result.trades[result.trades["exit_reason"] != "open"]
    side = np.where(closed["side"] == "LONG", 1.0, -1.0)
    entry = closed["entry_price"].to_numpy()
    for column, distance in (("stop_price", -strategy.stop.pct), ("target_price", strategy.targets.pct)):
        wanted = entry * (1.0 + side * (distance or 0.0) / 100.0)
        assert np.allclose(closed[column], wanted, rtol=0, atol=0.11)  # on the tick
    assert (closed["bars_held"] <= (strategy.time.max_bars or 0) + 1).all()
    assert closed["net_pnl"].to_numpy() == pytest.approx(closed["gross_pnl"] - closed["fees"], abs=1e-9)
    gained = result.equity["equity"].iloc[-1] - venue.starting_balance
    assert gained == pytest.approx(result.trades["net_pnl"].sum(), abs=1e-6)
    if not (result.trades["exit_reason"] == "open").any():
        assert result.working == 0


def test_it_trades_a_market_whose_flow_foretells_and_earns_there(synthetic: Catalog):
    result = on_synthetic(synthetic)
    check_books(result)
    assert len(result.trades) >= 3
    assert set(result.trades["side"]) == {"LONG", "SHORT"}
    assert {"entry", "target"} <= set(result.fills["role"])
    assert result.trades["net_pnl"].sum() > 0.0
    wishes = [r.detail["reasons"] for r in result.audit("intent")]
    reasons = [reason for reason in wishes if reason != ["reprice"]]
    assert all({"flow_buy", "flow_sell"} & set(reason) for reason in reasons)


def test_twice_the_same(synthetic: Catalog):
    first, again = on_synthetic(synthetic), on_synthetic(synthetic)
    assert len(first.trades) >= 3
    assert decisions_hash(first.records) == decisions_hash(again.records)
    pd.testing.assert_frame_equal(first.fills, again.fills)


def test_entries_rest_behind_the_price_and_pay_as_maker(synthetic: Catalog):
    result = on_synthetic(synthetic)
    entries, bars = result.orders.query("role == 'entry'"), synthetic.bars(PERP, "1s")
    assert len(entries) >= 3
    assert set(entries["order_type"]) == {"LIMIT"}
    close = bars.close[np.searchsorted(bars.ts_event, [ts.value for ts in entries["ts_init"]])]
    behind = np.where(entries["side"] == "BUY", 1.0, -1.0) * (close - entries["first_price"])
    assert np.allclose(behind, 0.1, rtol=0, atol=1e-6)  # 0.015 bps of 60,000, away from the market: a tick


def test_an_entry_at_the_market_pays_the_spread_and_the_taker_fee(synthetic: Catalog):
    result = on_synthetic(synthetic, entry={"order": "market"}, venue__latency_ms=0)
    quotes = read_quotes(synthetic, PERP, 0, 2**62)
    entries = result.fills.query("role == 'entry'")
    assert len(entries) >= 3
    for fill in entries.itertuples():
        at = np.searchsorted(quotes.ts_init, fill.ts_event.value) - 1
        best = quotes.ask_price[at] if fill.side == "BUY" else quotes.bid_price[at]
        assert fill.price == best
    taker = result.run.venue.taker_fee_bps / 1e4
    assert np.allclose(entries["fee"], entries["price"] * entries["quantity"] * taker, rtol=0, atol=1e-6)


def test_the_time_stop_counts_seconds(synthetic: Catalog):
    result = on_synthetic(
        synthetic, time={"max_bars": 5}, stop__pct=2.0, targets__pct=3.0, exit_on_opposite=False
    )
    closed = result.trades[result.trades["exit_reason"] != "open"]
    assert len(closed) >= 3
    assert set(closed["exit_reason"]) == {"time"}
    # five closes after the entry; the order arrives in the second after the fifth
    assert set(closed["bars_held"]) == {5}


def test_no_more_entries_an_hour_than_allowed(synthetic: Catalog):
    result = on_synthetic(synthetic, risk__day={"max_entries_hour": 2})
    assert len(result.audit("approval")) == 2
    assert result.audit("refusal")


def test_where_costs_eat_the_edge_it_stays_out(synthetic: Catalog):
    result = on_synthetic(synthetic, signal__cost_bps=30.0)
    assert (len(result.trades), result.audit("intent")) == (0, [])


def test_a_feed_that_is_late_is_not_traded_on(synthetic: Catalog):
    result = on_synthetic(synthetic, signal__max_latency_ms=0.001)
    fair = on_synthetic(synthetic)
    assert len(result.audit("intent")) < len(fair.audit("intent"))


def test_on_the_recorded_perpetual_it_trades_and_its_books_are_right(recorded: Catalog):
    result = play(run_file(recorded))
    check_books(result)
    assert len(result.trades) >= 3
    assert {"entry", "exit"} <= set(result.fills["role"])
    # six minutes; the fees of in and out, 4 to 7 bps, are about what the price moves in a holding time
    lost = -result.trades["net_pnl"].sum() / (result.fills["price"] * result.fills["quantity"]).sum()
    assert abs(lost) < 10e-4


def test_on_the_recorded_spot_market_it_only_buys_first(recorded: Catalog):
    raw = run_file(recorded).model_dump(mode="json")
    raw["strategies"][0]["instrument"] = SPOT
    result = play(RunConfig.model_validate(raw))
    check_books(result)
    assert set(result.trades["side"]) == {"LONG"}


def test_a_stop_is_filled_where_the_market_traded_not_at_its_level(recorded: Catalog):
    result = play(run_file(recorded, stop__pct=0.03, stop__min_pct=0.01))
    stopped = result.trades[result.trades["exit_reason"] == "stop"]
    assert len(stopped) >= 1
    worse = np.where(stopped["side"] == "LONG", 1.0, -1.0) * (stopped["stop_price"] - stopped["exit_price"])
    assert (worse >= 0.0).all()
    assert (worse < 0.001 * stopped["stop_price"]).all()


def test_what_the_tape_does_not_know_is_refused(synthetic: Catalog):
    for changes, words in (
        ({"stop": {"method": "atr"}}, "there is no atr_pct_14"),
        ({"sizing__method": "volatility"}, "there is no realized_volatility_20"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_strategies(run_file(synthetic, **changes))


def test_a_period_without_ticks_is_refused(synthetic: Catalog):
    run = run_file(synthetic)  # of the recording's day
    with pytest.raises(DataError, match="no quotes of BTCUSDT-PERP"):
        check_ticks(run, synthetic)
