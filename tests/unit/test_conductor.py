"""How long a node that is asked to end waits, and what it says it leaves behind."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from live import conductor
from live.conductor import Conductor
from strategies.coin_keeper import LeftOver

QUIET = {
    "is_safe": True,
    "is_quiet": True,
    "is_holding": False,
    "left_over": None,
    "awaits_result": False,
    "result": None,
    "venue_amount": None,
    "instrument": SimpleNamespace(id="BTCUSDT-PERP.BINANCE"),
}
OWED = {"is_quiet": False, "awaits_result": True}
BARE = {"is_safe": False, "is_quiet": False, "is_holding": True}
HELD = {"is_holding": True}


class _Clock:
    """Seconds that pass as told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class _Ending(Conductor):
    """A conductor outside an engine; `said` is what it published."""

    said: list[Any]
    clock: Any = None
    cache = SimpleNamespace()  # type: ignore[assignment]

    def publish_message(self, topic: Any, record: Any) -> None:
        del topic
        self.said.append(record.detail)


def _strategy(**values: Any) -> Any:
    methods = {name: lambda *_: None for name in ("stand_still", "withdraw", "leave", "pause", "lift")}
    return SimpleNamespace(**QUIET | values, **methods)


def _end(
    monkeypatch: pytest.MonkeyPatch,
    strategy: Any,
    at_end: Any = "keep",
    *,
    left: Any = None,
    safe_after_secs: float = 100,
) -> Any:
    """Ask for the end, and look ten times a second; the seconds it took, the outcome, and what was said."""
    clock = _Clock()
    monkeypatch.setattr(conductor, "time", clock)
    monkeypatch.setattr(conductor, "books_of", lambda *_: {})
    sweeper = SimpleNamespace(is_clean=True, left_over=left or {}, ask=lambda: None)
    stopped: list[float] = []
    ending = _Ending(
        [strategy],
        SimpleNamespace(reason="SIGTERM"),  # type: ignore[arg-type]
        lambda: stopped.append(clock.now - 100.0),
        at_end=at_end,
        secs=None,
        beat=lambda: None,
        greet=lambda: None,
        sweeper=sweeper,  # type: ignore[arg-type]
    )
    ending.said = []
    ending.clock = SimpleNamespace(timestamp_ns=lambda: round(clock.now * 1e9))
    for _ in range(400):
        if clock.now - 100.0 >= safe_after_secs:
            vars(strategy).update(is_safe=True, is_quiet=True)
        ending._on_look(None)
        clock.now += 0.1
    assert ending.failure is None
    assert len(stopped) == 1
    return round(stopped[0]), ending.outcome, [d["text"] for d in ending.said if "text" in d]


@pytest.mark.parametrize(
    ("values", "at_end", "secs", "outcome"),
    [
        ({}, "keep", 0, "flat"),
        (HELD, "keep", 0, "protected"),
        (OWED, "keep", 4, "flat"),
        (BARE, "keep", 15, "unsettled"),
        (HELD, "flatten", 15, "unsettled"),
        ({"is_safe": False, "is_quiet": False}, "keep", 15, "unsettled"),
    ],
    ids=["flat", "protected", "result owed", "bare", "not closed yet", "entry under way"],
)
def test_an_end_waits_long_only_for_what_would_be_left_exposed(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], at_end: str, secs: int, outcome: str
) -> None:
    assert _end(monkeypatch, _strategy(**values), at_end)[:2] == (secs, outcome)


def test_a_rest_that_no_strategy_knows_is_waited_for_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    secs, outcome, texts = _end(monkeypatch, _strategy(), left={"BTCUSDT": Decimal("0.004")})
    assert (secs, outcome) == (15, "unsettled")
    assert texts[0] == "the venue holds 0.004 BTCUSDT that no order of this node reaches: close it there"


@pytest.mark.parametrize("at_end", ["keep", "flatten"])
def test_coins_that_no_order_takes_are_told_and_no_reason_to_fail(
    monkeypatch: pytest.MonkeyPatch, at_end: str
) -> None:
    stuck = _strategy(**HELD, left_over=LeftOver(0.007, 7.0, is_all=True))
    secs, outcome, texts = _end(monkeypatch, stuck, at_end)
    assert (secs, outcome) == (0, "flat")
    assert len(texts) == 1
    assert "0.007 coins worth 7.00 stay as dust" in texts[0]


def test_coins_beside_which_some_stay_are_held_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    partly = _strategy(**HELD, left_over=LeftOver(0.007, 7.0, is_all=False))
    assert _end(monkeypatch, partly)[:2] == (0, "protected")
    assert _end(monkeypatch, partly, "flatten")[:2] == (15, "unsettled")


def test_a_result_that_is_owed_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = _end(monkeypatch, _strategy(**OWED))[2]
    assert texts == ["BTCUSDT-PERP.BINANCE: the next start tells the result of its last trade"]


def test_an_end_waits_no_longer_than_the_danger(monkeypatch: pytest.MonkeyPatch) -> None:
    secs, outcome, _ = _end(monkeypatch, _strategy(**BARE), safe_after_secs=7)
    assert (secs, outcome) == (7, "protected")


def test_while_the_engines_clock_stands_still_nothing_is_entered_and_one_alarm_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, pauses = _Clock(), set[str]()
    monkeypatch.setattr(conductor, "time", clock)
    strategy = _strategy()
    strategy.pause, strategy.lift = pauses.add, pauses.discard
    signals: Any = SimpleNamespace(reason=None)
    node = _Ending(
        [strategy],
        signals,
        lambda: None,
        at_end="keep",
        secs=None,
        beat=lambda: None,
        greet=lambda: None,
    )
    node.said, engine, paused = [], 0, []
    node.clock = SimpleNamespace(timestamp_ns=lambda: engine)
    for tenth in range(200):
        node._on_look(None)
        clock.now += 0.1
        engine += 1 if 50 <= tenth < 150 else 100_000_000  # set back by ten seconds
        paused.append(bool(pauses))
    assert (paused[:50], paused[75:150], paused[-20:]) == ([False] * 50, [True] * 75, [False] * 20)
    assert ["set back" in d["text"] for d in node.said if "text" in d] == [True]
