"""The fault script read, its gates counted, and what each kind makes of requests, messages and the market."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from live.rehearsal.book import Depth, Kline, MarkPrice, Quote, Trade
from live.rehearsal.faults.box import ScriptedFaults
from live.rehearsal.faults.gates import Gate, make_random, turns
from live.rehearsal.faults.script import (
    KINDS,
    FaultScript,
    Timing,
    When,
    load_faults,
    parse_fault,
    parse_faults,
)
from live.rehearsal.ports import FaultBox, RequestFault

START = 1_000_000
ROOT = Path(__file__).parents[2]
D = Decimal
ORDER = "/fapi/v1/order"
BTC_MARKET = {"symbol": "BTCUSDT", "type": "MARKET", "side": "BUY", "newClientOrderId": "entry-1"}
QUOTE = Quote(START, "BTCUSDT", D("99.9"), D(1), D("100.1"), D(2))


class Now:
    """Market time that a test sets."""

    def __init__(self) -> None:
        self.ms = START

    def __call__(self) -> int:
        return self.ms


def box(*faults: dict[str, Any], seed: int = 7, now: Now | None = None) -> ScriptedFaults:
    script = FaultScript(seed=seed, faults=tuple(parse_fault(fault) for fault in faults))
    return ScriptedFaults(script, now_ms=now or Now(), start_ms=START, ticks={"BTCUSDT": D("0.1")})


def hits(faults: ScriptedFaults, calls: int) -> list[bool]:
    return [faults.on_request("POST", ORDER, BTC_MARKET) is not None for _ in range(calls)]


def sent(faults: ScriptedFaults, *events: Any, stream: str = "user") -> list[Any]:
    return [d.event["n"] for event in events for d in faults.on_message(stream, event)]


def messages(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"n": number, **fields} for number in range(count)]


# -- the script ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "faults").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_shipped_scripts_are_right(path: Path) -> None:
    assert len(load_faults(path).faults) >= 4


def test_the_shipped_scripts_show_every_kind() -> None:
    paths = (ROOT / "configs" / "faults").glob("*.yaml")
    shown = {fault.kind for path in paths for fault in load_faults(path).faults}
    assert set(KINDS) - shown <= {"drop_request"}


def test_a_script_survives_its_own_json() -> None:
    script = load_faults(ROOT / "configs" / "faults" / "rough_day.yaml")
    assert FaultScript.model_validate_json(script.model_dump_json()) == script


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("faults: [{kind: drop_mesage}]", "faults.0: unknown kind 'drop_mesage'; use one of change_filters"),
        ("faults: [{match: {}}]", "faults.0: unknown kind None"),
        ("fault: []", "unknown key fault"),
        ("faults: [{kind: drop_message, match: {streams: user}}]", "unknown key faults.0.match.streams"),
        ("faults: [{kind: halt_symbol}]", "faults.0.symbol: missing; add it"),
        (
            "faults: [{kind: drop_message, when: {probability: 1.5}}]",
            "faults.0.when.probability: input should",
        ),
        (
            "faults: [{kind: drop_message, when: {count: '3'}}]",
            "faults.0.when.count: input should be a valid",
        ),
        ("faults: [{kind: error_answer, code: -1}]", "error code -1 has no known text; give a message"),
        ("faults: [{kind: close_sockets, timing: {for_secs: 3}}]", "for_secs has no meaning"),
        ("faults: [{kind: close_sockets, sockets: [users]}]", "faults.0.sockets.0: input should be 'market'"),
        ("faults: [{kind: change_filters, symbol: BTCUSDT}]", "give at least one of tick, step"),
        ("faults: [{kind: halt_symbol, symbol: B, status: TRADING}]", "status TRADING is no halt"),
        ("seed: 1\nseed: 2", "key 'seed' is given twice"),
        ("seed: [", "broken YAML"),
        ("- kind: drop_message", "the top level must be a mapping"),
    ],
)
def test_a_wrong_script_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_faults(text, "script.yaml")
    line = str(caught.value)
    assert line.startswith("script.yaml: ")
    assert message in line
    assert "\n" not in line


def test_a_script_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such fault script"):
        load_faults(tmp_path / "none.yaml")


# -- gates ---------------------------------------------------------------------------------------------------


def test_a_gate_skips_counts_and_takes_every_so_many() -> None:
    faults = box({"kind": "drop_request", "when": {"skip": 1, "every": 3, "count": 2}})
    # of the matches 0 1 2 ...: number 0 is skipped, then 1, 4, 7 ... are hit, two in all
    assert hits(faults, 10) == [n in (1, 4) for n in range(10)]


def test_a_gate_is_open_for_its_time_alone() -> None:
    now = Now()
    faults = box({"kind": "drop_request", "when": {"at_secs": 10, "for_secs": 5}}, now=now)
    seen = []
    for now.ms in (START + 9_999, START + 10_000, START + 14_999, START + 15_000):
        seen += hits(faults, 1)
    assert seen == [False, True, True, False]


def test_what_did_not_match_is_not_counted() -> None:
    match = {"path": "/fapi/v1/order", "order_type": "MARKET", "symbol": "BTC*", "client_id": "entry-*"}
    faults = box(
        {"kind": "drop_request", "match": {"method": "POST", "side": "BUY", **match}, "when": {"count": 1}}
    )
    others = [
        ("GET", ORDER, BTC_MARKET),
        ("POST", "/fapi/v1/algoOrder", BTC_MARKET),
        ("POST", ORDER, BTC_MARKET | {"type": "LIMIT"}),
        ("POST", ORDER, BTC_MARKET | {"symbol": "ETHUSDT"}),
        ("POST", ORDER, BTC_MARKET | {"side": "SELL"}),
        ("POST", ORDER, BTC_MARKET | {"newClientOrderId": "exit-1"}),
        ("POST", ORDER, {}),
    ]
    assert all(faults.on_request(*other) is None for other in others)
    assert hits(faults, 2) == [True, False]


@given(st.integers(0, 5), st.integers(1, 5), st.integers(1, 5), st.integers(0, 60))
def test_a_gate_without_chance_is_arithmetic(skip: int, every: int, count: int, calls: int) -> None:
    gate = Gate(When(skip=skip, every=every, count=count), make_random(1, 0, ""), 0)
    expected = [n for n in range(calls) if n >= skip and (n - skip) % every == 0][:count]
    assert [n for n in range(calls) if gate.passes(0)] == expected


def test_chances_depend_on_the_seed_and_not_on_other_faults() -> None:
    fault = {"kind": "drop_request", "name": "half", "when": {"probability": 0.5}}
    alone = hits(box(fault), 200)
    assert 70 < sum(alone) < 130  # 200 tosses: 100 +- 4 standard deviations of 7
    assert alone == hits(box(fault), 200)
    assert alone != hits(box(fault, seed=8), 200)
    other = {"kind": "delay_message", "when": {"probability": 0.5}}
    together = box(fault, other)
    for event in messages(50):
        together.on_message("user", event)
    assert hits(together, 200) == alone


def test_turns_repeat_end_and_leave_some_out() -> None:
    timing = Timing(at_secs=1, repeat_secs=10, for_secs=2, count=3)
    assert [tuple(turn) for turn in turns(timing, make_random(1, 0, ""), 0)] == [
        (1_000, 3_000),
        (11_000, 13_000),
        (21_000, 23_000),
    ]
    once = Timing(at_secs=1)
    assert [tuple(turn) for turn in turns(once, make_random(1, 0, ""), 0)] == [(1_000, None)]
    chancy = [
        turn.begin_ms
        for turn in turns(Timing(repeat_secs=1, count=50, probability=0.5), make_random(1, 0, ""), 0)
    ]
    assert len(chancy) == 50
    assert 70_000 < chancy[-1] < 130_000


# -- requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (
            {"kind": "delay_request", "delay_ms": 5, "answer_delay_ms": 7},
            RequestFault(delay_ms=5, answer_delay_ms=7),
        ),
        ({"kind": "drop_request"}, RequestFault("never", "drop")),
        ({"kind": "drop_request", "hang": True}, RequestFault("never", "hang")),
        ({"kind": "lose_answer"}, RequestFault("now", "drop")),
        ({"kind": "lose_answer", "hang": True}, RequestFault("now", "hang")),
        (
            {"kind": "late_acceptance", "later_ms": 9, "answer": "drop"},
            RequestFault("later", "drop", later_ms=9),
        ),
    ],
)
def test_each_request_fault_is_what_its_name_says(fault: dict[str, Any], expected: RequestFault) -> None:
    assert box(fault).on_request("POST", ORDER, BTC_MARKET) == expected


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (-1003, 429),
        (-1007, 408),
        *((n, 400) for n in (-1021, -1111, -2010, -2011, -2013, -2019, -2021, -2022)),
    ],
)
def test_an_error_has_the_venues_code_text_and_status(code: int, status: int) -> None:
    fault = box({"kind": "error_answer", "code": code}).on_request("POST", ORDER, BTC_MARKET)
    assert fault is not None
    assert (fault.effect, fault.answer, fault.status) == ("never", "canned", status)
    body = json.loads(fault.body)
    assert body["code"] == code
    assert body["msg"]
    assert "{}" not in body["msg"]


def test_an_error_may_come_after_the_effect_and_say_when_to_come_back() -> None:
    fault = box(
        {"kind": "error_answer", "code": -1003, "status": 418, "retry_after_secs": 30, "carried_out": True}
    ).on_request("POST", ORDER, BTC_MARKET)
    assert fault is not None
    assert (fault.effect, fault.status, fault.headers["Retry-After"]) == ("now", 418, "30")


def test_a_gateway_answers_html() -> None:
    fault = box({"kind": "http_answer", "status": 502}).on_request("GET", "/fapi/v1/time", {})
    assert fault is not None
    assert (fault.status, fault.headers["Content-Type"]) == (502, "text/html")
    assert "<title>502 Bad Gateway</title>" in fault.body


def test_late_acceptance_with_a_timeout_is_answered_1007() -> None:
    fault = box({"kind": "late_acceptance"}).on_request("POST", ORDER, BTC_MARKET)
    assert fault is not None
    assert (fault.effect, fault.answer, fault.status, fault.later_ms) == ("later", "canned", 408, 1_000)
    assert json.loads(fault.body)["code"] == -1007


def test_faults_of_one_request_add_their_delays_and_the_first_answer_counts() -> None:
    slow = {"kind": "delay_request", "delay_ms": 100}
    lost, refused = {"kind": "lose_answer"}, {"kind": "error_answer", "code": -2019}
    fault = box(slow, lost, slow, refused).on_request("POST", ORDER, BTC_MARKET)
    assert fault == RequestFault("now", "drop", delay_ms=200)


# -- messages ------------------------------------------------------------------------------------------------


def test_messages_are_dropped_doubled_delayed_and_overtaken() -> None:
    assert sent(box({"kind": "drop_message", "when": {"every": 2}}), *messages(5)) == [1, 3]
    assert sent(box({"kind": "duplicate_message", "copies": 2, "when": {"count": 1}}), *messages(2)) == [
        0,
        0,
        0,
        1,
    ]
    assert sent(box({"kind": "reorder_message", "when": {"count": 1}}), *messages(3)) == [1, 0, 2]
    assert sent(box({"kind": "reorder_message", "by": 2, "when": {"count": 1}}), *messages(4)) == [1, 2, 0, 3]
    delayed = box({"kind": "delay_message", "delay_ms": 40}).on_message("user", {"n": 1})
    assert [(d.event["n"], d.delay_ms) for d in delayed] == [(1, 40)]
    copies = box({"kind": "duplicate_message", "copies": 2, "delay_ms": 10}).on_message("user", {"n": 1})
    assert [d.delay_ms for d in copies] == [0, 10, 20]


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 30))
def test_reordering_loses_and_doubles_nothing(by: int, every: int, count: int) -> None:
    faults = box({"kind": "reorder_message", "by": by, "when": {"every": every}})
    order = sent(faults, *messages(count + by))
    assert len(order) == len(set(order))
    assert set(range(count)) <= set(order)
    assert all(place - number <= by for place, number in enumerate(order))


def test_streams_are_reordered_each_for_itself() -> None:
    faults = box({"kind": "reorder_message", "when": {"count": 1}})
    first, second, third = messages(3)
    assert faults.on_message("user", first) == []
    assert [d.event["n"] for d in faults.on_message("btcusdt@trade", second)] == [1]
    assert [d.event["n"] for d in faults.on_message("user", third)] == [2, 0]


def test_what_was_held_back_is_not_told_to_who_connects_next() -> None:
    faults = box({"kind": "reorder_message", "when": {"count": 1}})
    first, second, third = messages(3)
    assert faults.on_message("user", first) == []
    faults.on_silence("btcusdt@trade")
    faults.on_silence("user")
    assert [d.event["n"] for d in faults.on_message("user", second)] == [1]
    assert [d.event["n"] for d in faults.on_message("user", third)] == [2]


def test_a_message_to_several_sockets_is_decided_on_once() -> None:
    faults = box({"kind": "drop_message", "when": {"every": 2}})
    first, second = messages(2)
    outcome = [len(faults.on_message("user", event)) for event in (first, first, first, second, second)]
    assert outcome == [0, 0, 0, 1, 1]
    assert faults.faults[0]["matched"] == 2


def test_messages_are_told_apart_by_stream_event_symbol_and_status() -> None:
    fault = {"stream": "user", "event": "ORDER_TRADE_UPDATE", "symbol": "BTC*", "status": "FILLED"}
    faults = box({"kind": "drop_message", "match": fault})
    filled = {"e": "ORDER_TRADE_UPDATE", "o": {"s": "BTCUSDT", "X": "FILLED"}}
    assert faults.on_message("user", filled) == []
    for stream, event in [
        ("btcusdt@trade", filled),
        ("user", filled | {"e": "ALGO_UPDATE"}),
        ("user", {"e": "ORDER_TRADE_UPDATE", "o": {"s": "BTCUSDT", "X": "NEW"}}),
        ("user", {"e": "ORDER_TRADE_UPDATE", "o": {"s": "ETHUSDT", "X": "FILLED"}}),
        ("user", {"e": "ACCOUNT_UPDATE", "a": {}}),
    ]:
        assert len(faults.on_message(stream, event)) == 1


def test_faults_of_messages_combine() -> None:
    twice = {"kind": "duplicate_message", "when": {"count": 1}}
    swapped = {"kind": "reorder_message", "when": {"count": 1}}
    # 0 is doubled; the first copy is held back and overtaken by the second
    assert sent(box(twice, swapped), *messages(2)) == [0, 0, 1]
    late = {"kind": "delay_message", "delay_ms": 5}
    both = box(late, late).on_message("user", {"n": 0})
    assert [d.delay_ms for d in both] == [10]


def test_connections_are_refused_or_hang_by_kind() -> None:
    faults = box(
        {"kind": "refuse_connection", "match": {"sockets": ["user"]}, "when": {"count": 1}, "status": 502},
        {"kind": "refuse_connection", "match": {"sockets": ["trading"]}, "hang": True},
    )
    assert faults.on_connect("market") is None
    refused, hung = faults.on_connect("user"), faults.on_connect("trading")
    assert refused is not None
    assert (refused.answer, refused.status) == ("refuse", 502)
    assert hung is not None
    assert hung.answer == "hang"
    assert faults.on_connect("user") is None


# -- the market ----------------------------------------------------------------------------------------------


def test_stale_quotes_stop_and_come_back() -> None:
    faults = box({"kind": "stale_quotes", "when": {"at_secs": 1, "for_secs": 1}})
    seen = [faults.on_market(QUOTE._replace(ts_ms=START + ms)) is None for ms in (0, 1_000, 1_999, 2_000)]
    assert seen == [False, True, True, False]
    trade = Trade(START + 1_500, "BTCUSDT", D(100), D(1), False)
    assert faults.on_market(trade) == trade


def test_everything_may_be_stale() -> None:
    faults = box({"kind": "stale_quotes", "everything": True, "symbols": ["BTCUSDT"]})
    trade = Trade(START, "BTCUSDT", D(100), D(1), False)
    assert faults.on_market(trade) is None
    assert faults.on_market(trade._replace(symbol="ETHUSDT")) is not None


def test_crossed_quotes_have_the_bid_above_the_ask() -> None:
    crossed = box({"kind": "cross_quotes", "bps": 100}).on_market(QUOTE)
    # spread 0.2, wanted 100 bps of 99.9 = 0.999: each side moves (0.2 + 0.999 + 0.1) / 2 = 0.65, to 0.6
    assert crossed == QUOTE._replace(bid=D("100.5"), ask=D("99.5"))
    depth = Depth(START, "BTCUSDT", ((D("99.9"), D(1)), (D("99.8"), D(1))), ((D("100.1"), D(1)),))
    both = box({"kind": "cross_quotes", "bps": 100}).on_market(depth)
    assert isinstance(both, Depth)
    assert both.bids == ((D("100.5"), D(1)), (D("100.4"), D(1)))
    assert both.asks == ((D("99.5"), D(1)),)


def test_the_mark_price_moves_alone() -> None:
    faults = box({"kind": "move_mark", "percent": -1.5})
    mark = MarkPrice(START, "BTCUSDT", D(100), D(100))
    assert faults.on_market(mark) == mark._replace(mark=D("98.50000000"))
    assert faults.on_market(QUOTE) == QUOTE


def test_a_jump_moves_all_prices_on_the_tick() -> None:
    faults = box(
        {"kind": "jump_price", "percent": -4}, {"kind": "jump_price", "percent": 10, "symbols": ["ETHUSDT"]}
    )
    # 99.9 * 0.96 = 95.904 -> 95.9; 100.1 * 0.96 = 96.096 -> 96.1
    assert faults.on_market(QUOTE) == QUOTE._replace(bid=D("95.9"), ask=D("96.1"))
    trade = Trade(START, "BTCUSDT", D(100), D(1), False)
    assert faults.on_market(trade) == trade._replace(price=D("96.0"))
    kline = Kline(
        START, "BTCUSDT", "1m", 0, 59_999, D(100), D(101), D(99), D(100), D(2), D(200), 2, D(1), D(100), True
    )
    jumped = faults.on_market(kline)
    assert isinstance(jumped, Kline)
    assert (jumped.open, jumped.high, jumped.low, jumped.quote_volume) == (
        D("96.0"),
        D("97.0"),
        D("95.0"),
        D(192),
    )
    mark = faults.on_market(MarkPrice(START, "BTCUSDT", D(100), D(50)))
    assert isinstance(mark, MarkPrice)
    assert (mark.mark, mark.index_price) == (D(96), D(48))


@given(st.floats(-99, 900), st.integers(1, 10**6), st.integers(1, 50))
def test_a_jumped_book_is_still_a_book(percent: float, bid: int, gap: int) -> None:
    tick = D("0.1")
    bids = tuple((tick * (bid - gap * n), D(1)) for n in range(5) if bid - gap * n > 0)
    asks = tuple((tick * (bid + gap * (n + 1)), D(1)) for n in range(5))
    jumped = box({"kind": "jump_price", "percent": percent}).on_market(Depth(START, "BTCUSDT", bids, asks))
    assert isinstance(jumped, Depth)
    prices = [price for price, _ in (*reversed(jumped.bids), *jumped.asks)]
    assert prices == sorted(set(prices))
    assert all(price > 0 and price % tick == 0 for price in prices)


# -- what happens by itself ----------------------------------------------------------------------------------


def test_timed_faults_are_due_in_order_and_lasting_ones_end() -> None:
    faults = box(
        {"kind": "halt_symbol", "symbol": "BTCUSDT", "timing": {"at_secs": 2, "for_secs": 3}},
        {"kind": "close_sockets", "timing": {"at_secs": 1, "repeat_secs": 2, "count": 3}},
    )
    assert faults.next_ms == START + 1_000
    told = []
    for second in range(7):
        told += [(second, action.fault.kind, action.begins) for action in faults.due(START + 1000 * second)]
        if second in (2, 4):
            assert [fault.kind for fault in faults.lasting] == ["halt_symbol"]
    assert told == [
        (1, "close_sockets", True),
        (2, "halt_symbol", True),
        (3, "close_sockets", True),
        (5, "halt_symbol", False),
        (5, "close_sockets", True),
    ]
    assert faults.lasting == []
    assert faults.next_ms is None


def test_an_injected_fault_begins_now_and_is_cleared_by_name_or_kind() -> None:
    now = Now()
    faults = box(now=now)
    now.ms = START + 60_000
    faults.inject(
        parse_fault({"kind": "skew_clock", "name": "late", "skew_ms": -5, "timing": {"for_secs": 9}})
    )
    faults.inject(parse_fault({"kind": "drop_request", "when": {"at_secs": 1}}))
    assert [action.begins for action in faults.due(now.ms)] == [True]
    assert hits(faults, 1) == [False]
    now.ms += 1_000
    assert hits(faults, 1) == [True]
    assert [action.begins for action in faults.clear("late")] == [False]
    assert faults.next_ms is None
    assert faults.clear("drop_request") == []
    assert hits(faults, 1) == [False]
    assert faults.faults == []


def test_everything_done_is_in_the_log() -> None:
    faults = box({"kind": "drop_request", "name": "cut"}, {"kind": "drop_message"}, {"kind": "stale_quotes"})
    faults.on_request("POST", ORDER, BTC_MARKET)
    faults.on_message("user", {"e": "ACCOUNT_UPDATE"})
    faults.on_market(QUOTE)
    assert [(entry.name, entry.kind, entry.target) for entry in faults.log] == [
        ("cut", "drop_request", "POST /fapi/v1/order"),
        ("drop_message", "drop_message", "user ACCOUNT_UPDATE"),
        ("stale_quotes", "stale_quotes", "Quote BTCUSDT"),
    ]


def test_scripted_faults_are_the_servers_fault_box() -> None:
    faults: FaultBox = box()
    assert faults.on_request("GET", "/", {}) is None
    assert faults.on_connect("market") is None
