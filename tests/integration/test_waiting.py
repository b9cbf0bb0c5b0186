"""When a strategy decides: bar, forecasts and observation of one time, in any order; what if one is missing.

The ATR is in per cent of the close (feature atr_pct_14).
"""

import math
from dataclasses import replace

import pytest
from nautilus_trader.model import BarType

from actors.messages import Forecast, Observation, forecast_topic, observation_topic
from strategies.base import TradingStrategy
from strategies.values import Inputs, Intent
from tests.hand_market import MINUTE, T0
from tests.markets import UP, Desk, Fill, Speaker, deciding, desk, flat_rows, random_rows, random_script

BTC = "BTCUSDT-PERP.BINANCE"
ENTRY = Fill(1, "entry", "BUY", 100.0, 100.0)
ATR_STOP = {"stop": {"method": "atr", "atr_multiple": 2}, "targets": {"pct": None}}
ATR_TRAIL = {"targets": {"pct": None}, "trailing": {"activation_pct": 1, "distance_atr": 1}}


def stops(result: Desk) -> list[float]:
    return [level for state in result.states() for role, _, _, _, level, _ in state.orders if role == "stop"]


def silencing(*bars: int):
    """No observation at these bars: the forecaster's message does not get through."""

    def prepare(assembly):
        forecaster = assembly.forecasters[0]
        publish = forecaster.publish_message

        def publishing(topic, message):
            if isinstance(message, Observation) and (message.ts_event - T0) // MINUTE - 1 in bars:
                return
            publish(topic, message)

        forecaster.publish_message = publishing

    return prepare


def test_the_stop_stands_where_the_atr_of_the_bar_says():
    # twice 1.25 % of 100
    result = desk(flat_rows(4), {1: UP}, features={"atr_pct_14": [9, 1.25, 9, 9]}, **ATR_STOP)
    assert result.fills() == [ENTRY]
    assert stops(result)[0] == 97.5


def test_without_an_atr_there_is_no_stop_and_no_entry():
    result = desk(flat_rows(4), {1: UP}, features={"atr_pct_14": [math.nan] * 4}, **ATR_STOP)
    assert result.fills() == []
    ((bar, detail),) = result.audit("refusal")
    assert (bar, detail["check"]) == (1, "stop_distance")


def test_a_trail_by_atr_uses_the_atr_of_each_bar():
    rows = flat_rows(7, b2=(100, 102, 100, 102), b3=(102, 103, 102, 103), b4=(103, 104, 103, 104))
    result = desk(rows, {1: UP}, features={"atr_pct_14": [1, 1, 1, 2, math.nan, 1, 1]}, **ATR_TRAIL)
    # 102 - 1.02, then 103 - 2.06 = 100.94, no ATR, 100 is not up
    assert stops(result)[:4] == [98.0, 101.0, 101.0, 101.0]


def test_a_bar_whose_observation_never_comes_is_carried_on_but_not_decided_on():
    rows = flat_rows(8, b2=(100, 102, 100, 102), b3=(102, 103, 102, 103), b4=(103, 104, 103, 104))
    rows[5:] = [(104, 104.2, 103.8, 104)] * 3
    result = desk(
        rows,
        {1: UP, 6: UP},
        features={"atr_pct_14": [1.0] * 8},
        time={"max_bars": 4},
        prepare=silencing(3, 4),
        **ATR_TRAIL,
    )
    # 102 x 0.99 = 100.98; of bars 3 and 4 nothing but that they passed, counted a bar later
    assert stops(result)[:4] == [98.0, 101.0, 101.0, 101.0]
    assert [(f.bar, f.role) for f in result.fills()] == [(1, "entry"), (5, "exit"), (6, "entry")]


def test_no_decision_without_the_bars_observation():
    result = desk(
        flat_rows(6), {1: UP, 3: UP}, features={"atr_pct_14": [1.0] * 6}, prepare=silencing(1), **ATR_STOP
    )
    assert [f.bar for f in result.fills()] == [3]


@pytest.mark.parametrize("settings", [ATR_STOP, ATR_TRAIL])
def test_it_does_not_matter_whether_bar_or_observation_comes_first(settings):
    count = 300
    rows, script = random_rows(5, count), random_script(5, count)
    shown = {"atr_pct_14": [1.0 + 0.01 * (k % 7) for k in range(count)]}
    first, last = (
        desk(rows, script, features=shown, forecasters_last=order, **settings) for order in (False, True)
    )
    assert len(first.fills()) > 10
    assert first.fills() == last.fills()
    assert [s.orders for s in first.states()] == [s.orders for s in last.states()]


def test_a_view_shows_every_forecast_and_what_was_asked_for():
    seen = []

    def looking(view, _params):
        seen.append((view.probability, dict(view.forecasts), dict(view.features)))
        return Intent(1, 1.0, ("now",)) if len(seen) == 2 else None

    def prepare(assembly):
        old = assembly.strategies[0]
        setup = replace(old._setup, models=("direction", "slow"), inputs=Inputs(("return_1",)))
        object.__setattr__(assembly, "strategies", (TradingStrategy(setup),))
        deciding(looking)(assembly)

    def of_bar(bar, **probabilities):
        ts = T0 + (bar + 1) * MINUTE
        forecasts = [
            (
                forecast_topic(BTC),
                Forecast(instrument=BTC, model=m, ts_event=ts, horizon_bars=9, probability=p),
            )
            for m, p in probabilities.items()
        ]
        seen_at = Observation(instrument=BTC, ts_event=ts, features={"return_1": bar / 10})
        return [*forecasts, (observation_topic(BTC), seen_at)]

    kind = BarType.from_str(f"{BTC}-1-MINUTE-LAST-EXTERNAL")
    said = {1: of_bar(1, slow=0.6, other=0.9), 2: of_bar(2, direction=0.7, slow=0.4)}
    silent = dict.fromkeys(range(5), math.nan)
    result = desk(flat_rows(5), silent, prepare=prepare, actors=[Speaker(kind, "", said)])
    assert math.isnan(seen[0][0])
    assert math.isnan(seen[0][1].pop("direction"))
    assert seen[0][1:] == ({"slow": 0.6}, {"return_1": 0.1})
    assert seen[1] == (0.7, {"direction": 0.7, "slow": 0.4}, {"return_1": 0.2})
    assert [f.bar for f in result.fills()] == [2]
    assert [d["model"] for _, d in result.audit("forecast")] == ["direction", "slow"]
