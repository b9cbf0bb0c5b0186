"""The Fear & Greed index on the bus: history in a backtest, in a live node also polled over HTTP.

The values live in one `KnownSeries` that forecasters and strategies look into by the time of the bar; the
actor announces each as a `Sentiment` message when it becomes known, and adds what it polls to the series.
In a live node a value is known when it was received, and no sooner than a backtest would know it.

The service answers with the JSON of alternative.me's `/fng/`: `{"data": [{"value": "40", "timestamp":
"1551157200", ...}, ...], "metadata": {"error": null}}`. Nothing it sends is trusted: whatever else arrives,
or does not, is a warning and an audit record, and it is asked again soon, then ever later; the last good
value counts until it is too old, then there is none and an alarm.
"""

import re
import threading
import time
from queue import Empty, SimpleQueue
from typing import NamedTuple

import httpx
import msgspec
from nautilus_trader.common import DataActor, DataActorConfig, TimeEvent
from nautilus_trader.model import ActorId

from actors.alarms import alarm
from actors.faults import fail_loud, guarded
from actors.messages import AUDIT_TOPIC, SENTIMENT_TOPIC, AuditRecord, Sentiment
from configs.errors import ConfigError
from models.exogenous import FEAR_GREED, ExogenousColumns, KnownSeries

__all__ = ["Answer", "Poller", "SentimentActor", "ask_fear_greed", "learn_day", "parse_fear_greed"]

_SECOND_NS = 10**9
_DAY_NS = 86_400 * _SECOND_NS
_LOOK_NS = 20 * 10**6
_FIRST_RETRY_NS = 5 * _SECOND_NS
_LARGEST_ANSWER = 2**18
_LONGEST_WAIT_SECS = 86_400
_TIMESTAMP = re.compile(r"\d{9,10}")
_VALUE = re.compile(r"\d{1,3}")
_SECONDS = re.compile(r"\d{1,6}")
_KNOWN, _POLL, _LOOK, _RETRY = (f"fear-greed-{what}" for what in ("known", "poll", "look", "retry"))


@fail_loud
class SentimentActor(DataActor):
    """Publishes the values of `columns.series` as they become known; with `poll` it adds the live ones.

    ConfigError when polling is asked for and `sentiment.url` names no HTTP address.
    """

    component_name = "sentiment"

    def __new__(cls, *_: object, **__: object) -> "SentimentActor":
        """The engine takes a component's identity when the object is made."""
        return super().__new__(cls, DataActorConfig(actor_id=ActorId("SENTIMENT-001")))  # type: ignore[call-arg]

    def __init__(self, columns: ExogenousColumns, *, poll: bool = False) -> None:
        super().__init__(DataActorConfig(actor_id=ActorId("SENTIMENT-001")))
        self.failure: BaseException | None = None
        config = columns.config
        self._columns = columns
        self._series = columns.series
        self._delay_ns = config.publication_delay_minutes * 60 * _SECOND_NS
        self._poll_ns = round(config.poll_secs * _SECOND_NS)
        self._poller = Poller(config.url or "", timeout_secs=config.timeout_secs) if poll else None
        self._next = 0
        self._quiet_until = 0
        self._failures = 0
        self._valid = False
        self._missed = False

    def on_start(self) -> None:
        """Announce the newest value known already, then each when it becomes known; begin to poll."""
        self._announce()
        if self._poller is not None:
            self._poll()
            self.clock.set_timer_ns(_POLL, self._poll_ns, callback=self._on_poll)

    def on_stop(self) -> None:
        """Poll no more; an answer still under way is dropped."""
        self.clock.cancel_timers()

    @guarded
    def _on_known(self, _: TimeEvent) -> None:
        self._announce()

    def _announce(self) -> None:
        """Publish the newest value when it is a new one, and come back when the next becomes known."""
        now = self.clock.timestamp_ns()
        newest = self._series.find(now, self._columns.max_age_ns)
        if newest >= self._next:
            known_at, value, _ = self._series.row(newest)
            self.publish_message(
                SENTIMENT_TOPIC, Sentiment(series=FEAR_GREED, ts_event=known_at, value=value)
            )
            self._audit("known", value=value)
            self._next, self._valid = newest + 1, True
        upcoming = self._series.next_known(now)
        if upcoming is not None:
            if _KNOWN in self.clock.timer_names():
                self.clock.cancel_timer(_KNOWN)
            self.clock.set_time_alert_ns(_KNOWN, upcoming, self._on_known)

    @guarded
    def _on_poll(self, _: TimeEvent) -> None:
        self._poll()

    def _poll(self) -> None:
        """Send the next request, unless the service is to be left alone or has not answered the last one."""
        poller, now = self._poller, self.clock.timestamp_ns()
        if poller is None:
            return
        if self._valid or poller.busy:
            self._watch_age(now)
        if now < self._quiet_until:
            return
        if _RETRY in self.clock.timer_names():
            self.clock.cancel_timer(_RETRY)
        if poller.busy:
            self._complain("poll_failed", "the request before is still without an answer")
        else:
            poller.ask()
        if _LOOK not in self.clock.timer_names():
            self.clock.set_timer_ns(_LOOK, _LOOK_NS, callback=self._look)

    def _watch_age(self, now: int) -> None:
        """Alarm once when no value counts any more, or none ever did."""
        if self._series.find(now, self._columns.max_age_ns) >= 0:
            self._missed = False
            return
        if self._valid:
            self._valid = False
            self._complain("expired", f"no value younger than {self._columns.config.max_age_hours:g} h")
        if not self._missed:
            self._missed = True
            age = f"younger than {self._columns.config.max_age_hours:g} h"
            alarm(self, f"{FEAR_GREED}: no value {age}: what rests on it has no opinion", series=FEAR_GREED)

    @guarded
    def _look(self, _: TimeEvent) -> None:
        """Take the answer when it has come."""
        answer = self._poller.take() if self._poller is not None else None
        if answer is None:
            return
        self.clock.cancel_timer(_LOOK)
        now = self.clock.timestamp_ns()
        if answer.failure:
            self._complain("poll_failed", answer.failure)
            self._ask_again(now, answer.wait_secs * _SECOND_NS)
            self._watch_age(now)
            return
        self._failures = 0
        for day, value in answer.days:
            if day > now:
                self._complain(
                    "refused", f"a value for a day that begins in {(day - now) / _DAY_NS:.2f} days"
                )
            else:
                learn_day(self._series, day, value, now=now, delay_ns=self._delay_ns)
        newest = answer.days[-1][0]
        if now - (newest + self._delay_ns) > self._columns.max_age_ns:
            self._complain("stale", f"the newest value is {(now - newest) / _DAY_NS:.1f} days old")
        self._announce()
        self._watch_age(now)

    def _ask_again(self, now: int, rest_ns: int) -> None:
        """After a failure: sooner than usual, each time later, and not before the service wishes."""
        self._quiet_until = now + rest_ns
        pause = max(_FIRST_RETRY_NS << min(self._failures, 16), rest_ns)
        self._failures += 1
        if pause < self._poll_ns:
            self.clock.set_time_alert_ns(_RETRY, now + pause, self._on_poll)

    def _complain(self, event: str, reason: str) -> None:
        self.log.warning(f"{FEAR_GREED}: {event}: {reason}")
        self._audit(event, reason=reason)

    def _audit(self, event: str, **detail: object) -> None:
        record = AuditRecord(
            ts_event=self.clock.timestamp_ns(),
            component=self.component_name,
            instrument=FEAR_GREED,
            kind="sentiment",
            detail={"event": event, **detail},
        )
        self.publish_message(AUDIT_TOPIC, record)


def learn_day(series: KnownSeries, day: int, value: float, *, now: int, delay_ns: int) -> None:
    """Add a day that is new, or the newest one with another value; what is known already stays.

    `day` is its midnight, `now` when its value was received (ns UTC). It is due `delay_ns` after midnight,
    and counts from the later of the two: no sooner than in a backtest.
    """
    due = day + delay_ns
    known_at = max(now, due)
    if len(series):
        last_known, last_value, last_due = series.row(-1)
        if due < last_due or (due == last_due and value == last_value):
            return
        known_at = max(known_at, last_known)
    series.append(known_at, value, due)


class Answer(NamedTuple):
    """What one poll brought: (UTC midnight in ns, value) of each day, oldest first, or why it failed.

    `wait_secs` is for how long the service asked to be left alone.
    """

    days: tuple[tuple[int, float], ...] = ()
    failure: str = ""
    wait_secs: int = 0


class _Entry(msgspec.Struct):
    value: str
    timestamp: str


class _Metadata(msgspec.Struct):
    error: str | None = None


class _Document(msgspec.Struct):
    data: list[_Entry]
    metadata: _Metadata


def parse_fear_greed(content: bytes) -> tuple[tuple[int, float], ...]:
    """(UTC midnight in ns, value 0 to 100) of each day in an answer, oldest first.

    ValueError says what is wrong with it: another shape, an error of the service, a value or time that is
    none, the same day twice.
    """
    try:
        document = msgspec.json.decode(content, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a Fear & Greed answer: {error}") from error
    if document.metadata.error is not None:
        raise ValueError(f"the service says: {document.metadata.error[:100]}")
    if not document.data:
        raise ValueError("the answer has no values")
    days = sorted(map(_day, document.data))
    if len({day for day, _ in days}) < len(days):
        raise ValueError("the answer has two values for one day")
    return tuple(days)


def _day(entry: _Entry) -> tuple[int, float]:
    if not _VALUE.fullmatch(entry.value) or int(entry.value) > 100:
        raise ValueError(f"value '{entry.value[:40]}' is not a number from 0 to 100")
    if not _TIMESTAMP.fullmatch(entry.timestamp):
        raise ValueError(f"timestamp '{entry.timestamp[:40]}' is not a time in seconds since 1970")
    return int(entry.timestamp) * 10**9 // _DAY_NS * _DAY_NS, float(entry.value)


class Poller:
    """One request at a time on a thread of its own; `ask` and `take` return at once.

    ConfigError for a URL that is none. The thread is a daemon, so that an address that never answers cannot
    hold up the end of the process.
    """

    def __init__(self, url: str, *, timeout_secs: float) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(
                f"sentiment.url: '{url}' is no address to poll; write one that begins with https://"
            )
        self._url = url
        self._timeout_secs = timeout_secs
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self.busy = False

    def ask(self) -> None:
        """Send a request; RuntimeError while the last one is under way."""
        if self.busy:
            raise RuntimeError("the last request is still under way")
        self.busy = True
        threading.Thread(target=self._work, name="fear-greed", daemon=True).start()

    def take(self) -> Answer | None:
        """The answer when it is there, None as long as it is not."""
        try:
            answer = self._answers.get_nowait()
        except Empty:
            return None
        self.busy = False
        return answer

    def _work(self) -> None:
        answer = Answer(failure="the request broke off")
        try:
            answer = ask_fear_greed(self._url, timeout_secs=self._timeout_secs)
        finally:
            self._answers.put(answer)


def ask_fear_greed(url: str, *, timeout_secs: float) -> Answer:
    """Ask the service once and wait for its answer; nothing is raised."""
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    try:
        with (
            httpx.Client(timeout=timeout_secs, follow_redirects=False, trust_env=False) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            refusal = _refusal(response)
            if refusal:
                return Answer(failure=refusal, wait_secs=_wait_secs(response))
            return Answer(parse_fear_greed(_body(response, time.monotonic() + timeout_secs)))
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
        return Answer(failure=f"{type(error).__name__}: {error}"[:200])


def _refusal(response: httpx.Response) -> str:
    """Why an answer is not even read; empty when it is."""
    if response.status_code != 200:
        return f"answered with status {response.status_code}"
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return "" if kind == "application/json" else f"answered with '{kind[:40]}' instead of application/json"


def _wait_secs(response: httpx.Response) -> int:
    """For how long a 429 or 503 asks to be left alone, a day at most."""
    wait = response.headers.get("retry-after", "")
    return min(int(wait), _LONGEST_WAIT_SECS) if _SECONDS.fullmatch(wait) else 0


def _body(response: httpx.Response, deadline: float) -> bytes:
    """The whole body; ValueError when it is too large or dribbles in past the deadline."""
    content = bytearray()
    for chunk in response.iter_raw():
        content += chunk
        if len(content) > _LARGEST_ANSWER:
            raise ValueError(f"the answer is larger than {_LARGEST_ANSWER} bytes")
        if time.monotonic() > deadline:
            raise ValueError("the answer was not complete in time")
    return bytes(content)
