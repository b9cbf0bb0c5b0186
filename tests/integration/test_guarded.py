"""What binds a strategy from outside: the guard's word, the session, the other strategies' risk.

100 coins from 100 (a tenth of 100,000), stop 2 % away at 98, target 4 % away at 104; T0 is 07:50 UTC.
"""

import pytest
from nautilus_trader.model import BarType

from actors.messages import (
    RISK_MODE_TOPIC,
    TRADING_TOPIC,
    EntrySubmitted,
    Mode,
    OrderRefused,
    RiskMode,
    TradeClosed,
)
from tests.hand_market import MINUTE, T0, instrument
from tests.markets import DOWN, UP, Desk, Fill, Speaker, State, desk, flat_rows

BTC, ETH = "BTCUSDT-PERP.BINANCE", "ETHUSDT-PERP.BINANCE"
ENTRY = Fill(1, "entry", "BUY", 100.0, 100.0)
RESTING = {"order": "limit", "offset_bps": 100, "timeout_bars": 50}


def said(words: dict[int, RiskMode]) -> Speaker:
    kind = BarType.from_str(f"{BTC}-1-MINUTE-LAST-EXTERNAL")
    return Speaker(kind, RISK_MODE_TOPIC, {bar: [word] for bar, word in words.items()})


def word(bar: int, mode: Mode, **changes) -> RiskMode:
    return RiskMode(ts_event=T0 + (bar + 1) * MINUTE, mode=mode, multiplier=1.0, **changes)


def guided(rows, script, words: dict[int, RiskMode], **strategy) -> Desk:
    return desk(rows, script, guarded=False, actors=[said(words)], **strategy)


def refusals(result: Desk) -> list[tuple[int, str]]:
    return [(bar, detail["check"]) for bar, detail in result.audit("refusal")]


def heard(rows, script, **strategy) -> list[object]:
    """What the guard hears of a run, in order."""
    messages: list[object] = []

    def listen(assembly):
        first = assembly.strategies[0]
        publish = first.publish_message

        def publishing(topic, message):
            if topic == TRADING_TOPIC:
                messages.append(message)
            publish(topic, message)

        first._journal._strategy = Publishing(first, publishing)

    desk(rows, script, prepare=listen, **strategy)
    return messages


class Publishing:
    def __init__(self, strategy, publish_message):
        self._strategy, self.publish_message = strategy, publish_message

    @property
    def clock(self):
        return self._strategy.clock


# -- the risk mode ------------------------------------------------------------------------------------------


def test_without_a_word_from_the_guard_nothing_enters():
    assert refusals(guided(flat_rows(4), {1: UP, 2: UP}, {})) == [(1, "mode_missing"), (3, "mode_missing")]


def test_a_word_that_has_grown_old_counts_as_a_pause():
    # it may be a bar and 300 s old: the one of bar 0 is good until bar 6
    result = guided(flat_rows(9), {6: UP}, {0: word(0, Mode.NORMAL)})
    assert refusals(result) == []
    result = guided(flat_rows(9), {7: UP}, {0: word(0, Mode.NORMAL)})
    assert refusals(result) == [(7, "mode_stale")]
    assert result.fills() == []


@pytest.mark.parametrize(("mode", "check"), [(Mode.PAUSED, "mode_paused"), (Mode.HALTED, "mode_halted")])
def test_a_forbidding_word_refuses_entries_and_keeps_what_is_open_protected(mode, check):
    words = {0: word(0, Mode.NORMAL), 2: word(2, mode)}
    result = guided(flat_rows(8), {1: UP, 4: DOWN, 5: DOWN, 6: DOWN}, words)
    assert result.fills() == [ENTRY, Fill(4, "exit", "SELL", 100.0, 100.0)]  # exits are never forbidden
    assert len(result.states()[3].orders) == 2
    assert refusals(result) == [(5, check), (7, check)]  # the second is said at the end


def test_halted_with_flatten_closes_at_once():
    words = {0: word(0, Mode.NORMAL), 3: word(3, Mode.HALTED, flatten=True)}
    result = guided(flat_rows(8), {1: UP}, words)
    assert result.fills() == [ENTRY, Fill(3, "exit", "SELL", 100.0, 100.0)]
    assert result.states()[3] == State(3, 0, ())
    assert ("halted", 3) in [(d.get("reason"), bar) for bar, d in result.audit("action")]


@pytest.mark.parametrize("mode", [Mode.PAUSED, Mode.HALTED])
def test_a_forbidding_word_takes_resting_entries_back(mode):
    words = {0: word(0, Mode.NORMAL), 3: word(3, mode)}
    result = guided(flat_rows(8), {1: UP}, words, entry=RESTING)
    assert len(result.states()[2].orders) == 1
    assert result.states()[3] == State(3, 0, ())


def test_the_last_entry_that_a_quota_allows_may_rest_and_the_next_is_refused():
    risk = {"day": {"max_entries_hour": 1}}
    result = desk(flat_rows(10, b4=(100, 100, 98, 99)), {1: UP, 6: DOWN, 8: UP}, risk=risk, entry=RESTING)
    assert [(f.bar, f.role) for f in result.fills()] == [(4, "entry"), (6, "exit")]
    assert refusals(result) == [(8, "mode_paused:entries_hour")]


def test_a_resting_entry_goes_when_the_word_grows_old_or_blocks_the_symbol():
    stale = guided(flat_rows(10), {1: UP}, {0: word(0, Mode.NORMAL)}, entry=RESTING)
    assert [len(state.orders) for state in stale.states()] == [0, 1, 1, 1, 1, 1, 1, 0, 0, 0]
    words = {0: word(0, Mode.NORMAL), 3: word(3, Mode.NORMAL, blocked={BTC: "cool_down"})}
    blocked = guided(flat_rows(8), {1: UP, 6: UP}, words, entry=RESTING)
    assert [len(state.orders) for state in blocked.states()][:6] == [0, 1, 1, 1, 0, 0]
    assert refusals(blocked) == [(6, "blocked:cool_down")]


def test_an_older_word_does_not_displace_a_newer_one():
    words = {1: word(1, Mode.PAUSED), 2: word(0, Mode.NORMAL)}
    assert refusals(guided(flat_rows(5), {3: UP}, words)) == [(3, "mode_paused")]


def test_the_multiplier_scales_the_size():
    words = {0: RiskMode(ts_event=T0 + MINUTE, mode=Mode.REDUCED, multiplier=0.25)}
    result = guided(flat_rows(4), {1: UP}, words)
    assert result.fills() == [Fill(1, "entry", "BUY", 25.0, 100.0)]
    ((_, approval),) = result.audit("approval")
    assert approval["factors"] == {"confidence": 1.0, "mode": 0.25, "regime": 1.0, "correlation": 1.0}


def test_the_real_guard_pauses_a_strategy_that_lost_too_much_in_a_day():
    # the stop costs 200 and 11.88 of fees: 0.21 % of 100,000
    rows = flat_rows(9, b3=(100, 100, 97, 98))
    result = desk(rows, {1: UP, 5: UP}, risk={"day": {"max_loss_pct": 0.2}})
    assert refusals(result) == [(5, "mode_paused:daily_loss")]


# -- what the guard hears -----------------------------------------------------------------------------------


def test_the_guard_hears_of_entries_and_of_trades_net_of_fees():
    rows = flat_rows(10, b3=(100, 104.5, 99.8, 104), b7=(100, 100, 97, 98))
    messages = heard(rows, {1: UP, 5: UP})
    assert [type(m) for m in messages] == [EntrySubmitted, TradeClosed] * 2
    first, second = messages[1], messages[3]
    # 100 x 4 less 6 bps of 10,000 and 2 bps of 10,400; at stake 2 % and 6 bps twice of 10,000
    assert (first.side, first.exit_reason) == (1, "target")
    assert first.pnl == pytest.approx(400 - 6 - 2.08)
    assert first.risk == pytest.approx(212.0)
    # 100,391.92: 100.391 coins, down 2 a coin and the costs at 100 and 98
    assert second.exit_reason == "stop"
    assert second.pnl == pytest.approx(-100.391 * (2 + 0.06 + 0.0588))


@pytest.mark.parametrize(
    ("script", "strategy", "reason"),
    [({1: UP, 3: DOWN}, {}, "opposite"), ({1: UP}, {"time": {"max_bars": 2}}, "time")],
)
def test_the_guard_hears_why_a_trade_ended(script, strategy, reason):
    assert heard(flat_rows(6), script, **strategy)[-1].exit_reason == reason


def test_the_guard_hears_of_refused_orders_but_not_of_makers_that_would_take():
    empty = (100, 100, 100, 100, 0)
    messages = heard(flat_rows(4, b0=empty, b1=empty), {1: UP})
    assert [(type(m), getattr(m, "role", "")) for m in messages] == [
        (EntrySubmitted, ""),
        (OrderRefused, "entry"),
    ]
    assert [type(m) for m in heard(flat_rows(4), {1: UP}, entry={"order": "post_only"})] == [EntrySubmitted]


# -- the session --------------------------------------------------------------------------------------------


def test_it_is_flat_before_midnight_and_enters_again_after_it():
    # bar k closes at 07:51 + k: bar 968 at 23:59 of T0's day; flat from 23:50 (bar 959) on
    count = 980
    signals = {950: UP, 958: UP, 959: UP, 965: UP, 969: UP, 970: UP}
    result = desk(flat_rows(count), signals, time={"flat_before_midnight_minutes": 10})
    assert [(f.bar, f.role) for f in result.fills()] == [(950, "entry"), (959, "exit"), (970, "entry")]
    assert refusals(result) == [(965, "session"), (970, "session")]


def test_a_resting_entry_goes_when_the_session_ends():
    result = desk(flat_rows(964), {950: UP}, entry=RESTING, time={"flat_before_midnight_minutes": 10})
    assert [len(result.states()[bar].orders) for bar in (950, 958, 959)] == [1, 1, 0]


# -- several strategies, one account ------------------------------------------------------------------------


def both(script, risk, **strategy) -> Desk:
    rows = [(100.0, 100.5, 99.5, 100.0, 100_000.0)] * 8
    return desk(
        {BTC: rows, ETH: rows},
        {BTC: script, ETH: script},
        instrument("BTCUSDT"),
        instrument("ETHUSDT"),
        venue={"taker_fee_bps": 0, "slippage_bps": 0},
        risk=risk,
        **strategy,
    )


def test_two_that_decide_on_the_same_bar_cannot_together_break_a_cap():
    # 15 % of 100,000 for all: the first takes its 10, the second what is left
    result = both({1: UP}, {"portfolio": {"max_gross_pct": 15}})
    approvals = [(detail["quantity"], detail["bound_by"]) for _, detail in result.audit("approval")]
    assert approvals == [(100.0, "fraction"), (50.0, "max_gross")]


@pytest.mark.parametrize("venue", [{}, {"latency_ms": 1000}])
def test_an_entry_under_way_counts_like_a_position(venue):
    rows = [(100.0, 100.5, 99.5, 100.0, 100_000.0)] * 8
    result = desk(
        {BTC: rows, ETH: rows},
        {BTC: {1: UP}, ETH: {1: UP}},
        instrument("BTCUSDT"),
        instrument("ETHUSDT"),
        venue={"taker_fee_bps": 0, "slippage_bps": 0, **venue},
        risk={"portfolio": {"max_gross_pct": 15}, "position": {"max_risk_per_trade_pct": 100}},
        entry=RESTING,
    )
    # at 99: 10,000 / 99 = 101.01, the rest of 15,000 is 5,000.01 / 99 = 50.505
    approvals = [(detail["quantity"], detail["bound_by"]) for _, detail in result.audit("approval")]
    assert approvals == [(101.01, "fraction"), (50.505, "max_gross")]


def test_the_number_of_positions_counts_entries_under_way():
    result = both({1: UP}, {"position": {"max_positions": 1}}, entry=RESTING)
    assert refusals(result) == [(1, "max_positions")]


def test_the_risk_of_the_others_is_read_from_their_stops():
    """Both move together. One cluster may lose 0.3 %: BTC's stop takes 0.2 of it, ETH gets the rest."""
    rows = [(100.0, 100.5, 99.5, 100.0, 100_000.0)] * 8
    clusters = ((BTC, ETH),)
    words = {0: word(0, Mode.NORMAL, clusters=clusters)}
    result = desk(
        {BTC: rows, ETH: rows},
        {BTC: {1: UP}, ETH: {3: UP}},
        instrument("BTCUSDT"),
        instrument("ETHUSDT"),
        venue={"taker_fee_bps": 0, "slippage_bps": 0},
        risk={"portfolio": {"max_cluster_risk_pct": 0.3}},
        guarded=False,
        actors=[said(words)],
    )
    approvals = [(detail["quantity"], detail["bound_by"]) for _, detail in result.audit("approval")]
    # 100 x 2 of 300; 100 are left: 50 coins
    assert approvals == [(100.0, "fraction"), (50.0, "max_cluster_risk")]
