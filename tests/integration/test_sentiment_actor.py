"""Fear & Greed on the bus: history as it became known, and a service that may answer anything."""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from nautilus_trader.backtest import BacktestEngine
from nautilus_trader.common import DataActor, DataActorConfig, Environment, LoggerConfig
from nautilus_trader.live import LiveNode
from nautilus_trader.model import ActorId, Bar, BarType, TraderId

from actors.audit import AuditActor
from actors.faults import raise_failures
from actors.messages import SENTIMENT_TOPIC, Sentiment
from actors.sentiment import Answer, Poller, SentimentActor, parse_fear_greed
from backtests.venue import build_engine
from catalog.store import bar_type
from configs.errors import ConfigError
from configs.schema import RunConfig, SentimentConfig
from models.exogenous import ExogenousColumns, KnownSeries
from tests.hand_market import MINUTE, T0, instrument
from tests.index_service import (
    DAY,
    HOUR,
    PATIENCE_SECS,
    TODAY,
    document,
    dribble,
    entry,
    good,
    hang_up,
    reply,
    service,
    silent,
)


def polled(url: str, *, timeout_secs: float = PATIENCE_SECS) -> Answer:
    poller = Poller(url, timeout_secs=timeout_secs)
    poller.ask()
    until = time.monotonic() + 2 * PATIENCE_SECS
    while (answer := poller.take()) is None:
        assert time.monotonic() < until
        assert poller.busy
        threading.Event().wait(0.002)
    assert not poller.busy
    return answer


# -- one poll


def test_a_good_answer_is_its_days_oldest_first() -> None:
    # the example of the service's own documentation: 2019-02-26 05:00 and the day before
    body = document(entry("40", 1_551_157_200 * 10**9), entry("47", 1_551_070_800 * 10**9))
    with service(reply(body)) as said:
        assert polled(said.url) == Answer(((1_551_052_800 * 10**9, 47.0), (1_551_139_200 * 10**9, 40.0)))


BAD = {
    "HTML": (reply(b"<html>busy</html>", kind="text/html; charset=utf-8"), "'text/html' instead of"),
    "HTML called JSON": (reply(b"<html>busy</html>"), "not a Fear & Greed answer"),
    "no type": (reply(document(entry("40")), kind=""), "instead of application/json"),
    "empty": (reply(b""), "not a Fear & Greed answer"),
    "another shape": (reply(b'{"data": [40], "metadata": {"error": null}}'), "not a Fear & Greed answer"),
    "no bytes of text": (reply(b"\xff\xfe\x00"), "not a Fear & Greed answer"),
    "nothing in it": (reply(document()), "no values"),
    "its own error": (reply(document(error="Invalid limit")), "the service says: Invalid limit"),
    "value too high": (reply(document(entry("140"))), "'140' is not a number from 0 to 100"),
    "value in words": (reply(document(entry("abc"))), "'abc' is not a number"),
    "negative value": (reply(document(entry("-3"))), "'-3' is not a number"),
    "NaN": (reply(document(entry("NaN"))), "'NaN' is not a number"),
    "value no text": (reply(document(entry(40))), "not a Fear & Greed answer"),
    "a date": (reply(document(entry("40") | {"timestamp": "26-02-2019"})), "'26-02-2019' is not a time"),
    "two for a day": (reply(document(entry("40"), entry("41"))), "two values for one day"),
    "huge": (reply(b" " * 300_000 + document(entry("40"))), "larger than 262144 bytes"),
    "packed": (reply(b"\x1f\x8b\x08\x00", headers={"Content-Encoding": "gzip"}), "not a Fear & Greed"),
    "redirect": (reply(b"", status=302, headers={"Location": "http://127.0.0.1:9/"}), "status 302"),
    "missing": (reply(b"{}", status=404), "status 404"),
    "server error": (reply(document(entry("40")), status=500), "status 500"),
    "hung up": (hang_up, "RemoteProtocolError"),
    "cut short": (reply(b"{", headers={"Content-Length": "500"}), "Error"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_is_a_failure_with_its_reason(name: str) -> None:
    turn, reason = BAD[name]
    with service(turn) as said:
        answer = polled(said.url)
    assert answer.days == ()
    assert reason in answer.failure
    assert "\n" not in answer.failure


@pytest.mark.parametrize(("turn", "reason"), [(silent, "Timeout"), (dribble, "not complete in time")])
def test_a_slow_answer_ends_at_the_time_out(turn: Any, reason: str) -> None:
    with service(turn) as said:
        began = time.monotonic()
        # more than once: on a machine that stalls, a read of the dribble can be slow too
        assert any(reason in polled(said.url, timeout_secs=0.2).failure for _ in range(3))
        assert time.monotonic() - began < 15


def test_a_refused_connection_is_a_failure() -> None:
    with service(good(1)) as said:
        url = said.url
    assert "ConnectError" in polled(url).failure


@pytest.mark.parametrize(("asked", "wait"), [("120", 120), ("999999", 86_400), ("Sat, 21 Nov", 0)])
def test_too_many_requests_says_for_how_long_to_wait(asked: str, wait: int) -> None:
    with service(reply(b"", status=429, headers={"Retry-After": asked})) as said:
        assert polled(said.url) == Answer(failure="answered with status 429", wait_secs=wait)


def test_a_second_request_waits_for_the_first() -> None:
    with service(silent) as said:
        poller = Poller(said.url, timeout_secs=0.3)
        poller.ask()
        with pytest.raises(RuntimeError, match="still under way"):
            poller.ask()


@pytest.mark.parametrize("url", [None, "", "ftp://x", "api.alternative.me/fng/"])
def test_an_address_that_is_none_is_refused_before_anything_runs(url: str | None) -> None:
    columns = ExogenousColumns(KnownSeries([], []), SentimentConfig(url=url))
    with pytest.raises(ConfigError, match=r"sentiment\.url"):
        SentimentActor(columns, poll=True)
    SentimentActor(columns)


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://127.0.0.1:99999/", "http://a b/"])
def test_an_address_that_cannot_be_used_is_a_failed_poll(url: str) -> None:
    assert polled(url, timeout_secs=0.5).failure


def test_unknown_keys_of_an_answer_are_passed_over() -> None:
    body = (
        b'{"data": [{"value": "7", "timestamp": "86400", "new": [1]}], "metadata": {"error": null}, "x": 1}'
    )
    with pytest.raises(ValueError, match="timestamp '86400'"):
        parse_fear_greed(body)
    assert parse_fear_greed(body.replace(b"86400", b"1551139200")) == ((1_551_139_200 * 10**9, 7.0),)


# -- in a live node


UNDER_WAY = "the request before is still without an answer"
NO_OPINION = "what rests on it has no opinion"


def live(
    columns: ExogenousColumns,
    done: Callable[[Sequence[Mapping[str, Any]]], bool],
    audit: AuditActor | None = None,
) -> list[dict[str, Any]]:
    """Run a node with the actor until `done` with the audit's details; returns those."""
    audit, actor = audit or AuditActor(), SentimentActor(columns, poll=True)
    builder = LiveNode.builder("test", TraderId("T-001"), Environment.SANDBOX).with_reconciliation(False)
    builder = builder.with_logging(LoggerConfig(bypass_logging=True))
    node = builder.with_delay_post_stop_secs(0).with_delay_shutdown_secs(0).build()
    node.add_actor(audit)
    node.add_actor(actor)
    handle = node.handle()

    def stop() -> None:
        until = time.monotonic() + PATIENCE_SECS
        while time.monotonic() < until and not done(answered(audit)):
            threading.Event().wait(0.005)
        handle.stop()

    watcher = threading.Thread(target=stop)
    watcher.start()
    node.run()
    watcher.join()
    node.dispose()
    raise_failures([audit, actor])
    assert {record.component for record in audit.records} <= {"sentiment"}
    return answered(audit)


def answered(audit: AuditActor) -> list[dict[str, Any]]:
    """The records, but for those of polls that came while the request before was still under way."""
    told = [r.detail for r in audit.records if r.kind == "sentiment"]
    return [detail for detail in told if detail.get("reason") != UNDER_WAY]


def alarms(audit: AuditActor) -> list[str]:
    return [r.detail["text"] for r in audit.records if r.kind == "alarm"]


def quick(url: str, **changes: Any) -> SentimentConfig:
    """A configuration that polls faster than a run file may, of days that count from their beginning."""
    fast = {"poll_secs": 0.03, "timeout_secs": PATIENCE_SECS, "publication_delay_minutes": 0}
    return SentimentConfig(url=url).model_copy(update=fast | changes)


def events(details: Sequence[Mapping[str, Any]]) -> list[tuple[str, object]]:
    return [(detail["event"], detail.get("value", detail.get("reason"))) for detail in details]


def test_live_values_are_known_when_they_are_received() -> None:
    began = time.time_ns()
    days = [entry(str(50 + i), TODAY - i * DAY) for i in range(3)]
    with service(reply(document(*days)), good(50), good(44)) as said:
        columns = ExogenousColumns(KnownSeries([], []), quick(said.url))
        found = live(columns, lambda details: len(details) >= 2)
    # the history of the first answer is learned at once, its newest day announced; then a correction
    assert events(found) == [("known", 50.0), ("known", 44.0)]
    rows = [columns.series.row(i) for i in range(4)]
    assert [(value, due) for _, value, due in rows] == [
        (52.0, TODAY - 2 * DAY),
        (51.0, TODAY - DAY),
        (50.0, TODAY),
        (44.0, TODAY),
    ]
    received = [known for known, _, _ in rows]
    assert began < received[0] == received[1] == received[2] < received[3] < time.time_ns()
    assert columns.at(received[0] - 1)[0] != 50.0
    assert columns.at(received[0])[0] == 50.0
    assert columns.at(received[3])[0] == 44.0


def test_whatever_goes_wrong_is_recorded_and_the_last_good_value_stays() -> None:
    late = TODAY - 5 * DAY
    script = [
        good(40),
        BAD["value too high"][0],
        BAD["HTML"][0],
        hang_up,
        good(80, TODAY + 2 * DAY),
        good(60, late),
    ]
    with service(*script) as said:
        columns = ExogenousColumns(KnownSeries([], []), quick(said.url))
        found = live(columns, lambda details: len(details) >= 7)
    assert [event for event, _ in events(found)][:6] == [
        *("known", "poll_failed", "poll_failed", "poll_failed", "refused", "stale"),
    ]
    assert "from 0 to 100" in found[1]["reason"]
    assert "text/html" in found[2]["reason"]
    assert "for a day that begins in" in found[4]["reason"]
    assert "days old" in found[5]["reason"]
    assert len(columns.series) == 1
    assert columns.at(time.time_ns())[0] == 40.0


def test_a_value_that_grows_too_old_expires_and_no_other_takes_its_place() -> None:
    with service(good(40), reply(b"", status=503)) as said:
        columns = ExogenousColumns(KnownSeries([], []), quick(said.url))
        audit = AuditActor()

        def expired(details: Sequence[Mapping[str, Any]]) -> bool:
            if details:  # the value is known: as if its time went by at once
                columns.max_age_ns = 0.0
            return {"expired", "poll_failed"} <= {detail["event"] for detail in details}

        found = live(columns, expired, audit)
    assert found[0] == {"event": "known", "value": 40.0}
    kinds = [event for event, _ in events(found)]
    assert kinds.count("expired") == 1
    assert "poll_failed" in kinds
    told = [record.kind for record in audit.records if record.detail.get("event") != "poll_failed"]
    assert told[-2:] == ["sentiment", "alarm"]  # one before it may say that the first answer took long
    assert alarms(audit)[-1] == f"fear_greed: no value younger than 48 h: {NO_OPINION}"
    assert columns.at(time.time_ns())[0] != 40.0


def test_a_service_that_asks_for_rest_gets_it() -> None:
    with service(reply(b"", status=429, headers={"Retry-After": "3600"}), good(40)) as said:
        columns = ExogenousColumns(KnownSeries([], []), quick(said.url))
        answered_at = math.inf

        def half_a_second_later(details: Sequence[Mapping[str, Any]]) -> bool:
            nonlocal answered_at
            if details:
                answered_at = min(answered_at, time.monotonic())
            return time.monotonic() - answered_at > 0.5

        found = live(columns, half_a_second_later)
    assert events(found) == [("poll_failed", "answered with status 429")]
    assert said.asked == 1
    assert len(columns.series) == 0


def test_an_answer_that_does_not_come_holds_up_neither_the_node_nor_its_end() -> None:
    with service(silent) as said:
        columns = ExogenousColumns(KnownSeries([], []), quick(said.url, timeout_secs=60.0))
        began = time.monotonic()
        audit = AuditActor()
        live(columns, lambda _: len(audit.records) >= 3 and said.asked > 0, audit)
        assert time.monotonic() - began < 30
        assert said.asked == 1
    reasons = {record.detail["reason"] for record in audit.records if record.kind == "sentiment"}
    assert reasons == {UNDER_WAY}
    assert alarms(audit) == [f"fear_greed: no value younger than 48 h: {NO_OPINION}"]


def test_a_value_counts_no_sooner_than_in_a_backtest() -> None:
    minutes = (time.time_ns() - TODAY) // MINUTE + 60  # due within the hour
    with service(good(40)) as said:
        columns = ExogenousColumns(KnownSeries([], []), quick(said.url, publication_delay_minutes=minutes))
        live(columns, lambda _: len(columns.series) > 0)
    due = TODAY + minutes * MINUTE
    assert columns.series.row(0) == (due, 40.0, due)
    assert np.isnan(columns.at(due - 1)[0])
    assert columns.at(due)[0] == 40.0


def test_after_a_failure_it_is_asked_again_before_its_usual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.sentiment._FIRST_RETRY_NS", 10**7)
    failing = reply(b"", status=503)
    with service(failing, failing, failing, good(40)) as said:
        columns = ExogenousColumns(KnownSeries([], []), quick(said.url, poll_secs=3600.0))
        audit = AuditActor()
        found = live(columns, lambda details: len(details) >= 4, audit)
        assert said.asked == 4
    assert [event for event, _ in events(found)] == [*["poll_failed"] * 3, "known"]
    told = [record.ts_event for record in audit.records if record.kind == "sentiment"]
    assert np.all(np.diff(told) >= [10**7, 2 * 10**7, 4 * 10**7])
    assert len(alarms(audit)) == 1


def test_live_values_follow_the_catalogs_history() -> None:
    with service(good(40)) as said:
        config = quick(said.url)
        days = [TODAY - (30 - i) * DAY for i in range(30)]
        columns = ExogenousColumns.of_days(days, [10.0] * 30, config)
        found = live(columns, lambda details: len(details) >= 2)
    # yesterday's value until the poll, then today's with its week and month
    assert events(found) == [("known", 10.0), ("known", 40.0)]
    assert columns.at(time.time_ns()) == (40.0, 30.0, (29 * 10.0 + 40.0) / 30)


# -- in a backtest


class Listener(DataActor):
    """What arrives on the topic, and what the columns say at each bar."""

    def __new__(cls, *_: object) -> "Listener":
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("LISTENER-001")))

    def __init__(self, kind: BarType, columns: ExogenousColumns) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("LISTENER-001")))
        self.kind, self.columns = kind, columns
        self.heard: list[tuple[int, Sentiment]] = []
        self.seen: list[tuple[int, float]] = []

    def on_start(self) -> None:
        self.subscribe_bars(self.kind)
        self.subscribe_topic(SENTIMENT_TOPIC, self.hear)

    def hear(self, message: Sentiment) -> None:
        self.heard.append((self.clock.timestamp_ns(), message))

    def on_bar(self, bar: Bar) -> None:
        self.seen.append((bar.ts_event, self.columns.at(bar.ts_event)[0]))


def backtest(columns: ExogenousColumns, closes: Sequence[int]) -> tuple[Listener, AuditActor, BacktestEngine]:
    traded = instrument()
    run = RunConfig.model_validate(
        {
            "name": "t",
            "data": {
                "catalog": "none",
                "start": "2023-01-01",
                "test_start": "2024-01-01",
                "end": "2024-02-01",
            },
            "strategies": [{"use": "ml_basic", "instrument": str(traded.id)}],
        }
    )
    engine = build_engine(run, [traded], {}).engine
    kind = BarType.from_str(bar_type(str(traded.id), "1m"))
    price, size = traded.make_price(100.0), traded.make_qty(1.0)
    engine.add_data([Bar(kind, price, price, price, price, size, ts, ts) for ts in closes])
    listener, audit, actor = Listener(kind, columns), AuditActor(), SentimentActor(columns)
    for component in (listener, audit, actor):
        engine.add_actor(component)
    engine.run()
    raise_failures([audit, actor])
    return listener, audit, engine


def test_a_backtest_hears_each_value_when_it_was_published_and_never_before() -> None:
    midnight = T0 // DAY * DAY
    # values of the day before, of the day itself and of the next; one more lies beyond the run
    days = [midnight - DAY, midnight, midnight + DAY, midnight + 2 * DAY]
    columns = ExogenousColumns.of_days(days, [10.0, 20.0, 30.0, 40.0], SentimentConfig())
    first, known = midnight + 30 * MINUTE, [midnight + HOUR, midnight + DAY + HOUR]
    closes = [first, known[0] - MINUTE, known[0], known[1] - MINUTE, known[1], known[1] + MINUTE]
    listener, audit, engine = backtest(columns, closes)
    assert listener.seen == list(zip(closes, [10.0, 10.0, 20.0, 20.0, 30.0, 30.0], strict=True))
    assert listener.heard == [
        (first, Sentiment(series="fear_greed", ts_event=midnight - DAY + HOUR, value=10.0)),
        (known[0], Sentiment(series="fear_greed", ts_event=known[0], value=20.0)),
        (known[1], Sentiment(series="fear_greed", ts_event=known[1], value=30.0)),
    ]
    assert [(r.ts_event, r.kind, r.detail) for r in audit.records] == [
        (first, "sentiment", {"event": "known", "value": 10.0}),
        (known[0], "sentiment", {"event": "known", "value": 20.0}),
        (known[1], "sentiment", {"event": "known", "value": 30.0}),
    ]
    assert engine.iteration == len(closes)


def test_a_backtest_without_a_fresh_value_hears_nothing_and_sees_nan() -> None:
    midnight = T0 // DAY * DAY
    columns = ExogenousColumns.of_days([midnight - 9 * DAY], [10.0], SentimentConfig())
    listener, audit, _ = backtest(columns, [midnight + HOUR, midnight + 2 * HOUR])
    assert (listener.heard, audit.records) == ([], [])
    assert np.isnan([value for _, value in listener.seen]).tolist() == [True, True]
