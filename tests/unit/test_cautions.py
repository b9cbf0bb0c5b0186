"""What a summary says of strategies that were kept from trading, and of an account that was."""

import json
from typing import Any

import pandas as pd

from backtests.summary import idle_strategies, last_word
from configs.schema import RunConfig

BTC = "BTCUSDT-PERP.BINANCE"
RUN = RunConfig(
    name="r",
    data={"catalog": "none", "start": "2024-01-01", "test_start": "2024-01-02", "end": "2024-01-05"},
    strategies=[{"use": "ml_basic", "instrument": BTC, "name": "one"}],
)


def decisions(*rows: tuple[str, str, str, dict[str, Any]]) -> pd.DataFrame:
    """(time, component, kind, detail)."""
    return pd.DataFrame(
        {
            "ts_event": pd.to_datetime([r[0] for r in rows], utc=True, format="ISO8601"),
            "component": [r[1] for r in rows],
            "kind": [r[2] for r in rows],
            "detail": [json.dumps(r[3], separators=(",", ":")) for r in rows],
        }
    )


def positions(*strategies: str) -> pd.DataFrame:
    return pd.DataFrame({"strategy": pd.Series(strategies, dtype="str")})


REFUSED = ("2024-01-02", "one", "refusal", {"check": "gross", "limit": 1.0, "value": 2.0})
AGAIN = ("2024-01-03", "one", "refusal", {"check": "gross", "side": 1, "repeated": 8})
APPROVED = ("2024-01-03", "one", "approval", {})


def test_a_strategy_without_a_trade_is_named_with_what_refused_it() -> None:
    (line,) = idle_strategies(RUN, positions(), decisions(REFUSED, AGAIN))
    assert line == "one: 0 trades; wished to enter on 9 bars, 0 were approved; refused: gross 9"
    (silent,) = idle_strategies(RUN, positions(), decisions())
    assert silent == "one: 0 trades; wished to enter on 0 bars, 0 were approved"


def test_a_strategy_that_is_mostly_refused_is_named_and_one_that_trades_is_not() -> None:
    assert len(idle_strategies(RUN, positions("one-001-00"), decisions(REFUSED, AGAIN, APPROVED))) == 1
    assert idle_strategies(RUN, positions("one-001-00"), decisions(REFUSED, APPROVED)) == []


def word(day: str, mode: str, *reasons: str) -> tuple[str, str, str, dict[str, Any]]:
    return (day, "guard", "risk", {"mode": mode, "reasons": list(reasons)})


def test_a_pause_that_nothing_ends_is_told_with_its_beginning() -> None:
    story = [
        word("2024-01-02", "NORMAL"),
        word("2024-01-03 07:00", "PAUSED", "max_drawdown", "loss_streak"),
        word("2024-01-03 09:00", "PAUSED", "max_drawdown"),
    ]
    (line,) = last_word(decisions(*story))
    assert line.startswith("no entries since 2024-01-03 07:00 UTC (max_drawdown): only a command `resume`")
    assert last_word(decisions(*story, word("2024-01-04", "NORMAL"))) == []
    assert last_word(decisions(*story[:1], word("2024-01-04", "PAUSED", "loss_streak"))) == []
    assert len(last_word(decisions(word("2024-01-02", "HALTED", "halt_daily_loss")))) == 1
