"""What follows a refusal is read off its reason, for every code of the venue and every word of the engine."""

import pytest

from live.rehearsal.errors import TEXTS
from live.venue.errors import classify
from strategies.refusals import error_code, remedy

WS, REST = "code={}: text", "submit-order-error: Binance error {} (HTTP 400): text"


@pytest.mark.parametrize("shape", [WS, REST])
@pytest.mark.parametrize("code", sorted(TEXTS))
def test_every_code_of_the_venue_is_read_and_of_the_kind_that_requests_see(shape: str, code: int) -> None:
    reason = shape.format(code)
    assert error_code(reason) == code
    coarse = {"rate_limit": "venue", "filter": "logic"}
    kind = remedy(reason).kind
    if code in (-1021, -5028):  # the clocks differ: whoever asks again at once may be right
        assert kind == "network"
    elif code == -4131:
        assert kind == "venue"
    elif code == -4045:  # a request corrects itself; a stop that finds no place is the account's matter
        assert kind == "account"
    elif code == -2026:
        assert kind == "logic"
    else:
        assert coarse.get(kind, kind) == classify(code)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("INFLIGHT_TIMEOUT", "network"),
        ("NOT_FOUND_AT_VENUE", "venue"),
        ("RATE_LIMIT_EXCEEDED", "rate_limit"),
        ("MARKET_PRICE_UNAVAILABLE: BTCUSDT-PERP.BINANCE", "venue"),
        ("NOTIONAL_EXCEEDS_FREE_BALANCE: free=1 USDT", "account"),
        ("CUMULATIVE_INITIAL_MARGIN_EXCEEDS_FREE_BALANCE", "account"),
        ("QUANTITY_PRECISION_EXCEEDS_MAXIMUM", "filter"),
        ("REDUCE_ONLY_WOULD_INCREASE_POSITION", "logic"),
        ("HTTP 429 Too Many Requests", "rate_limit"),
        ("status: 418", "rate_limit"),
        ("HTTP 503: <html>", "venue"),
        ("HTTP 400", "logic"),
        ("something never heard of", "logic"),
    ],
)
def test_what_has_no_code_is_read_by_its_words(reason: str, kind: str) -> None:
    assert error_code(reason) is None
    assert remedy(reason).kind == kind


def test_a_stop_that_would_trigger_at_once_or_finds_no_margin_is_not_tried_again() -> None:
    for code in (-2021, -2019, -2015, -1111, -4045, -4142):
        assert not remedy(WS.format(code)).stop_again
    for reason in (
        "INFLIGHT_TIMEOUT",
        "NOT_FOUND_AT_VENUE",
        WS.format(-1003),
        WS.format(-1008),
        WS.format(-4130),
    ):
        assert remedy(reason).stop_again


def test_only_an_operator_ends_a_pause_for_the_keys() -> None:
    for code in (-1022, -2014, -2015, -4061):
        answer = remedy(WS.format(code))
        assert answer.pause_secs is None
        assert answer.is_alarming
    assert remedy(WS.format(-2019)).pause_secs == 300.0


def test_what_is_refused_as_reduce_only_asks_the_venue_and_pauses_nothing() -> None:
    answer = remedy(WS.format(-2022))
    assert answer.asks
    assert answer.pause_secs == 0.0
    assert not answer.is_alarming


def test_a_changed_filter_asks_for_the_rules_anew() -> None:
    assert remedy(WS.format(-1111)).reads_rules
    assert remedy(WS.format(-4014)).reads_rules
    assert not remedy(WS.format(-2019)).reads_rules


def test_a_price_or_a_port_is_no_code() -> None:
    assert error_code("Limit price can't be lower than -4016 at 127.0.0.1:-2019") is None
