"""Every rule of the guard broken on purpose: when it holds, what it says, and when it lets go."""

import math

import pytest

from actors.messages import Mode
from configs.errors import RunFailedError
from tests.risk_states import BTC, ETH, GUARD, MINUTE, NORMAL, at, closed, entry, state, word

# -- equity --------------------------------------------------------------------------------------------------


def test_without_a_known_equity_there_are_no_entries() -> None:
    risk = state()
    assert word(risk) == ("PAUSED", 1.0, ("no_equity",))
    assert risk.mark(at(1), 100_000.0)
    assert word(risk) == NORMAL


@pytest.mark.parametrize("equity", [None, 0.0, -5.0, math.nan, math.inf])
def test_an_equity_that_is_no_positive_number_pauses(equity: float | None) -> None:
    risk = state()
    risk.mark(at(1), 100_000.0)
    assert risk.mark(at(2), equity)
    assert word(risk) == ("PAUSED", 1.0, ("no_equity",))
    assert risk.memory.equity == 100_000.0  # the last one known
    risk.mark(at(3), 100_000.0)
    assert word(risk) == NORMAL


def test_the_word_carries_the_time_it_is_said() -> None:
    assert state().mode(at(7)).ts_event == at(7)


def test_repeating_the_same_account_changes_nothing_and_a_change_is_told() -> None:
    risk = state(portfolio={"drawdown_steps": ((5.0, 0.5),)})
    assert [risk.mark(at(1 + k), e) for k, e in enumerate((1e5, 1e5, 96e3, 95e3, 94e3, 96e3))] == [
        True,  # known at last
        False,
        False,
        True,  # 5 %
        False,
        True,  # back
    ]


# -- the day -------------------------------------------------------------------------------------------------


def test_the_daily_loss_closes_the_day_for_entries_until_midnight() -> None:
    risk = state(day={"max_loss_pct": 3.0})
    risk.mark(at(0), 100_000.0)
    risk.mark(at(9), 97_000.01)
    assert word(risk) == NORMAL
    risk.mark(at(9.5), 97_000.0)
    assert word(risk) == ("PAUSED", 1.0, ("daily_loss",))
    assert risk.explain()["daily_loss.value"] == pytest.approx(3.0)
    assert risk.explain()["daily_loss.until"] == at(24)
    risk.mark(at(10), 99_900.0)  # a recovery does not reopen the day
    assert risk.mode(0).mode is Mode.PAUSED
    risk.mark(at(24) - 1, 99_900.0)
    assert risk.mode(0).mode is Mode.PAUSED
    risk.mark(at(24), 99_900.0)
    assert word(risk) == NORMAL
    assert risk.memory.day.opening == 99_900.0


def test_the_loss_counts_from_the_days_opening_not_from_its_top() -> None:
    risk = state(day={"max_loss_pct": 3.0})
    risk.mark(at(0), 100_000.0)
    risk.mark(at(1), 104_000.0)
    risk.mark(at(2), 97_100.0)  # 6.6 % under the top, 2.9 % under the opening
    assert "daily_loss" not in risk.mode(0).reasons


def test_the_day_begins_at_the_configured_hour() -> None:
    risk = state(day={"max_loss_pct": 3.0, "starts_at_hour": 8})
    risk.mark(at(7), 100_000.0)
    risk.mark(at(7.5), 96_000.0)
    assert risk.explain()["daily_loss.until"] == at(8)
    risk.mark(at(8) - MINUTE, 96_000.0)
    assert risk.mode(0).mode is Mode.PAUSED
    risk.mark(at(8), 96_000.0)
    assert word(risk) == NORMAL
    risk.mark(at(7.9, day=2), 93_000.0)  # 3.1 % of 96,000, in the same day still
    assert risk.mode(0).mode is Mode.PAUSED


def test_after_a_gap_the_day_opens_with_the_last_equity_before_it() -> None:
    risk = state(day={"max_loss_pct": 3.0})
    risk.mark(at(23), 100_000.0)
    risk.mark(at(24) + 3 * MINUTE, 96_900.0)
    assert (risk.memory.day.start, risk.memory.day.opening) == (at(24), 100_000.0)
    assert word(risk) == ("PAUSED", 1.0, ("daily_loss",))
    assert risk.explain()["daily_loss.until"] == at(48)


def test_the_last_bar_of_a_day_counts_for_its_kill_switch_and_opens_the_next() -> None:
    risk = state(day={"max_loss_pct": 3.0}, kill_switch={"max_daily_loss_pct": 8.0})
    risk.mark(at(12), 100_000.0)
    risk.mark(at(24), 91_000.0)
    assert word(risk) == ("HALTED", 0.8, ("halt_daily_loss", "drawdown"))
    assert risk.explain()["halt_daily_loss.value"] == pytest.approx(9.0)
    assert risk.memory.day.opening == 91_000.0


def test_an_event_at_midnight_before_the_mark_does_not_change_the_opening() -> None:
    risk = state(day={"max_entries_day": 1})
    risk.mark(at(12), 100_000.0)
    risk.entry_submitted(entry(at(13)))
    risk.entry_submitted(entry(at(24)))  # a strategy that is called before the guard
    risk.mark(at(24), 99_000.0)
    assert risk.memory.day.opening == 99_000.0
    assert word(risk) == ("PAUSED", 1.0, ("entries_day",))  # the new day's only one


def test_entries_an_hour_pause_until_the_window_frees() -> None:
    risk = state(day={"max_entries_hour": 3})
    risk.mark(at(9), 1e5)
    for minute in (0, 20, 40):
        assert risk.mode(0).mode is Mode.NORMAL
        risk.entry_submitted(entry(at(10) + minute * MINUTE))
    assert word(risk) == ("PAUSED", 1.0, ("entries_hour",))
    assert risk.explain()["entries_hour.until"] == at(11)
    risk.mark(at(11) - 1, 1e5)
    assert risk.mode(0).mode is Mode.PAUSED
    assert risk.mark(at(11), 1e5)  # the one of 10:00 is 60 minutes old
    assert word(risk) == NORMAL
    risk.entry_submitted(entry(at(11)))
    assert risk.explain()["entries_hour.until"] == at(11) + 20 * MINUTE


def test_the_hours_window_reaches_over_midnight() -> None:
    risk = state(day={"max_entries_hour": 2, "max_entries_day": 9})
    risk.mark(at(23), 1e5)
    risk.entry_submitted(entry(at(23.5)))
    risk.mark(at(24), 1e5)
    risk.entry_submitted(entry(at(24.25)))
    assert word(risk) == ("PAUSED", 1.0, ("entries_hour",))
    assert risk.explain()["entries_hour.until"] == at(24.5)


def test_entries_a_day_pause_until_the_next() -> None:
    risk = state(day={"max_entries_day": 2})
    risk.mark(at(1), 1e5)
    risk.entry_submitted(entry(at(2)))
    assert word(risk) == NORMAL
    risk.entry_submitted(entry(at(20)))
    assert word(risk) == ("PAUSED", 1.0, ("entries_day",))
    assert risk.explain()["entries_day.value"] == 2.0
    risk.mark(at(24) - 1, 1e5)
    assert risk.mode(0).mode is Mode.PAUSED
    risk.mark(at(24), 1e5)
    assert word(risk) == NORMAL


def test_a_streak_of_losses_cools_down_for_its_minutes() -> None:
    risk = state(day={"loss_streak": 3, "loss_streak_pause_minutes": 90})
    risk.mark(at(1), 1e5)
    for hour, pnl in ((2, -5.0), (3, -5.0), (4, 0.1), (5, -5.0), (6, -5.0), (7, 0.0)):
        risk.trade_closed(closed(at(hour), pnl))  # the win ends the streak, the zero leaves it
    assert word(risk) == NORMAL
    risk.trade_closed(closed(at(8), -0.01))
    assert word(risk) == ("PAUSED", 1.0, ("loss_streak",))
    risk.mark(at(9.5) - 1, 1e5)
    assert risk.mode(0).mode is Mode.PAUSED
    risk.mark(at(9.5), 1e5)
    assert word(risk) == NORMAL
    risk.trade_closed(closed(at(10), -5.0))
    risk.trade_closed(closed(at(11), -5.0))
    assert word(risk) == NORMAL  # counted from zero again
    risk.trade_closed(closed(at(12), -5.0))
    assert risk.mode(0).mode is Mode.PAUSED


# -- symbols -------------------------------------------------------------------------------------------------


def test_a_stop_out_blocks_its_symbol_alone_for_its_minutes() -> None:
    risk = state(day={"stop_out_pause_minutes": 30})
    risk.mark(at(1), 1e5)
    assert risk.trade_closed(closed(at(2), -100.0, reason="stop"))
    assert word(risk) == NORMAL
    assert risk.mode(0).blocked == {BTC: "stop_out"}
    assert risk.explain()[f"blocked.{BTC}.until"] == at(2.5)
    risk.mark(at(2.5) - 1, 1e5)
    assert risk.mode(0).blocked == {BTC: "stop_out"}
    assert risk.mark(at(2.5), 1e5)
    assert risk.mode(0).blocked == {}


@pytest.mark.parametrize(
    ("pnl", "reason"), [(50.0, "stop"), (0.0, "stop"), (-50.0, "time"), (50.0, "target")]
)
def test_only_a_loss_by_the_stop_is_a_stop_out(pnl: float, reason: str) -> None:
    risk = state(day={"stop_out_pause_minutes": 30})
    risk.mark(at(1), 1e5)
    risk.trade_closed(closed(at(2), pnl, reason=reason))
    assert risk.mode(0).blocked == {}


def test_a_symbol_of_low_profit_is_blocked_and_then_judged_anew() -> None:
    low = {"trades": 3, "min_pnl_pct": -1.0, "pause_hours": 6.0}
    risk = state(day={"low_profit": low})
    risk.mark(at(1), 1e5)
    for hour, pnl in ((2, -400.0), (3, -400.0), (4, -200.0)):
        risk.trade_closed(closed(at(hour), pnl))
        risk.trade_closed(closed(at(hour), 1.0, instrument=ETH))
    assert risk.mode(0).blocked == {}  # -1,000 is 1 %, not worse
    risk.trade_closed(closed(at(5), -401.0))  # the last three: -1,001
    assert risk.mode(0).blocked == {BTC: "low_profit"}
    risk.mark(at(11) - 1, 1e5)
    assert risk.mode(0).blocked == {BTC: "low_profit"}
    risk.mark(at(11), 1e5)
    assert risk.mode(0).blocked == {}
    risk.trade_closed(closed(at(12), -5_000.0))
    risk.trade_closed(closed(at(13), -5_000.0))
    assert risk.mode(0).blocked == {}  # two of three so far


def test_of_two_blocks_the_longer_one_is_told() -> None:
    low = {"trades": 1, "min_pnl_pct": -0.01, "pause_hours": 1.0}
    risk = state(day={"low_profit": low, "stop_out_pause_minutes": 30})
    risk.mark(at(1), 1e5)
    risk.trade_closed(closed(at(2), -100.0, reason="stop"))
    assert risk.mode(0).blocked == {BTC: "low_profit"}
    risk.mark(at(2.75), 1e5)
    assert risk.mode(0).blocked == {BTC: "low_profit"}
    risk.mark(at(3), 1e5)
    assert risk.mode(0).blocked == {}


# -- the portfolio -------------------------------------------------------------------------------------------


def test_sizes_shrink_by_steps_as_the_drawdown_grows_and_grow_back() -> None:
    risk = state()
    said = []
    equities = (100_000.0, 95_000.01, 95_000.0, 90_000.0, 85_000.0, 80_000.01, 80_000.0, 80_001.0, 96_000.0)
    for minute, equity in enumerate(equities):
        risk.mark(at(1) + minute * MINUTE, equity)
        said.append(word(risk))
    assert said == [
        NORMAL,
        NORMAL,
        ("REDUCED", 0.8, ("drawdown",)),
        ("REDUCED", 0.6, ("drawdown",)),
        ("REDUCED", 0.4, ("drawdown",)),
        ("REDUCED", 0.4, ("drawdown",)),
        ("PAUSED", 0.4, ("drawdown", "max_drawdown")),
        ("REDUCED", 0.4, ("drawdown",)),
        NORMAL,
    ]


def test_the_peak_is_the_highest_equity_ever_marked() -> None:
    risk = state()
    for hour, equity in ((1, 100_000.0), (2, 120_000.0), (30, 110_000.0), (60, 114_000.0)):
        risk.mark(at(hour), equity)
    assert risk.memory.drawdown.peak == 120_000.0
    assert word(risk) == ("REDUCED", 0.8, ("drawdown",))  # 114 of 120 is 5 %, two days later


def test_the_multiplier_is_the_product_of_drawdown_and_performance() -> None:
    low = {"min_win_rate": 0.5, "min_expectancy_r": -9.0, "min_profit_factor": 0.0, "max_drawdown_r": 99.0}
    paused = low | {"min_win_rate": 0.0}
    guard = {"window": 2, "min_trades": 2, "reduced": low, "paused": paused, "reduced_multiplier": 0.5}
    risk = state(performance=guard)
    risk.mark(at(1), 1e5)
    risk.mark(at(2), 9e4)
    risk.trade_closed(closed(at(3), -1.0))
    risk.trade_closed(closed(at(4), -2.0))
    assert word(risk) == ("REDUCED", 0.3, ("drawdown", "performance_reduced"))
    numbers = risk.explain()
    assert (numbers["win_rate"], numbers["expectancy_r"]) == (0.0, pytest.approx(-0.015))
    assert numbers["trades"] == 2


def test_clusters_are_passed_on_and_a_change_of_them_is_told() -> None:
    risk = state()
    risk.mark(at(1), 1e5)
    assert risk.group(((BTC, ETH),))
    assert not risk.group(((BTC, ETH),))
    assert risk.mode(0).clusters == ((BTC, ETH),)
    assert risk.explain()["clusters"] == [[BTC, ETH]]


# -- performance ---------------------------------------------------------------------------------------------


def test_a_performance_pause_ends_on_its_hour_in_probation() -> None:
    risk = state(performance=GUARD)
    risk.mark(at(1), 1e5)
    risk.trade_closed(closed(at(2), -1.0))
    risk.trade_closed(closed(at(3), -1.0))
    assert word(risk) == ("PAUSED", 1.0, ("performance_paused",))
    assert risk.explain()["performance_paused.until"] == at(27)
    risk.mark(at(27) - 1, 1e5)
    assert risk.mode(0).mode is Mode.PAUSED
    assert risk.mark(at(27), 1e5)
    assert word(risk) == ("REDUCED", 0.25, ("probation",))
    risk.trade_closed(closed(at(28), 1.0))
    risk.trade_closed(closed(at(29), 1.0))
    assert word(risk) == NORMAL


# -- times, memory -------------------------------------------------------------------------------------------


def test_an_event_from_the_past_counts_as_now() -> None:
    risk = state(day={"loss_streak": 1, "loss_streak_pause_minutes": 60})
    risk.mark(at(5), 1e5)
    risk.trade_closed(closed(at(4), -1.0))
    assert risk.explain()["loss_streak.until"] == at(6)


def test_a_profit_that_is_no_number_fails_the_run() -> None:
    with pytest.raises(RunFailedError, match="profit of nan"):
        state().trade_closed(closed(at(1), math.nan))


def test_last_intents_are_remembered_by_instrument() -> None:
    risk = state()
    risk.entry_submitted(entry(at(1), BTC, 1))
    risk.entry_submitted(entry(at(2), ETH, -1))
    risk.entry_submitted(entry(at(3), BTC, -1))
    assert risk.memory.last_intents == {BTC: (at(3), -1), ETH: (at(2), -1)}


def test_news_for_the_file_are_told_only_when_something_changed() -> None:
    risk = state()
    risk.mark(at(1), 1e5)
    assert risk.has_news
    risk.has_news = False
    risk.mark(at(2), 1e5)
    assert not risk.has_news
    risk.mark(at(3), 1e5 - 1)
    assert risk.has_news
