"""A handler that raises is kept, stops the run at that bar, and is named afterwards."""

import pytest

from actors.faults import CarryOn, fail_loud, guarded, raise_failures
from actors.messages import AUDIT_TOPIC, AuditRecord
from configs.errors import RunFailedError
from strategies import ml_basic
from tests.hand_market import MINUTE, T0
from tests.markets import UP, Desk, Fill, Speaker, State, deciding, desk, flat_rows

ENTRY = Fill(1, "entry", "BUY", 100.0, 100.0)
PROTECTION = (
    ("stop", "SELL", "STOP_MARKET", 100.0, 98.0, True),
    ("target", "SELL", "LIMIT", 100.0, 104.0, True),
)
FAILS_AT = T0 + 5 * MINUTE  # the close of bar 4


@fail_loud
class Part:
    """A component as the engine sees one."""

    component_name = "part"

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self.reasons: list[str] = []

    def shutdown_system(self, reason: str) -> None:
        self.reasons.append(reason)

    def on_bar(self, bar: object) -> object:
        """Raise what it is given."""
        if isinstance(bar, BaseException):
            raise bar
        return bar

    @guarded
    def listen(self, message: BaseException) -> None:
        raise message

    def helper(self) -> None:
        raise ValueError("not a handler")


# -- the wrapper -----------------------------------------------------------------------------------------


def test_a_handler_that_does_not_raise_is_left_alone():
    part = Part()
    assert part.on_bar("bar") == "bar"
    assert (part.failure, part.reasons) == (None, [])
    assert (Part.on_bar.__name__, Part.on_bar.__doc__) == ("on_bar", "Raise what it is given.")


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(3), KeyboardInterrupt()])
def test_whatever_a_handler_raises_is_kept_and_asks_for_shutdown(error):
    part = Part()
    with pytest.raises(type(error)):
        part.on_bar(error)
    assert part.failure is error
    assert part.reasons == [f"part: {error!r}"]


def test_only_the_first_failure_counts():
    part, first = Part(), ValueError("first")
    for error in (first, KeyError("second")):
        with pytest.raises(type(error)):
            part.on_bar(error)
    assert part.failure is first
    assert len(part.reasons) == 1


def test_a_callback_is_guarded_by_hand_and_a_helper_not_at_all():
    part = Part()
    with pytest.raises(ValueError, match="not a handler"):
        part.helper()
    assert part.failure is None
    with pytest.raises(KeyError):
        part.listen(KeyError("x"))
    assert isinstance(part.failure, KeyError)


def test_raise_failures_names_the_component_and_keeps_the_cause():
    whole, broken = Part(), Part()
    broken.failure = error = ValueError("boom")
    raise_failures([whole])
    with pytest.raises(RunFailedError, match=r"^part failed: ValueError: boom$") as raised:
        raise_failures([whole, broken])
    assert raised.value.__cause__ is error


# -- in the engine ---------------------------------------------------------------------------------------


def check_stopped_at_bar_4(result: Desk, message: str) -> None:
    """The run ended at bar 4 with what bar 1 had placed; bars 0 to 3 were whole."""
    assert result.simulation.engine.iteration == 5
    assert result.states()[-1] == State(3, 100.0, PROTECTION)
    assert result.fills() == [ENTRY]
    assert result.end() == (100.0, 2)
    with pytest.raises(RunFailedError, match=message):
        raise_failures(result.assembly.components)


@pytest.mark.parametrize("forecasters_last", [False, True])
def test_a_decision_that_raises_stops_the_run_at_its_bar_and_names_the_strategy(forecasters_last):
    def decide(view, params):
        if view.ts_event == FAILS_AT:
            raise ValueError("boom")
        return ml_basic.decide(view, params)

    signals = {1: UP, 4: UP, 5: UP}
    result = desk(flat_rows(9), signals, prepare=deciding(decide), forecasters_last=forecasters_last)
    check_stopped_at_bar_4(result, r"^ml_basic-BTCUSDT-PERP failed: ValueError: boom$")


def test_a_forecaster_that_raises_stops_the_run_at_its_bar_and_is_named():
    def spoil(assembly):
        forecaster = assembly.forecasters[0]
        lookup = forecaster._probability

        def probability(bar):
            if bar.ts_event == FAILS_AT:
                raise KeyError("model")
            return lookup(bar)

        forecaster._probability = probability

    result = desk(flat_rows(9), {1: UP, 4: UP, 5: UP}, prepare=spoil)
    check_stopped_at_bar_4(result, r"^FORECASTER-ml_basic-BTCUSDT-PERP failed: KeyError: 'model'$")


def test_an_audit_that_cannot_record_stops_the_run_and_is_named():
    speaker_script = {4: ["not a record"]}
    kind = desk(flat_rows(1), {}).strategy._setup.bar_type
    result = desk(flat_rows(9), {1: UP}, actors=[Speaker(kind, AUDIT_TOPIC, speaker_script)])
    check_stopped_at_bar_4(result, r"^audit failed: TypeError: the audit topic carries AuditRecord only")


def test_a_fill_handler_that_raises_stops_the_run_and_nothing_enters_after():
    def spoil(assembly):
        def opened(*_):
            raise RuntimeError("lost")

        assembly.strategies[0]._keeper._open = opened

    result = desk(flat_rows(9), {1: UP, 2: UP}, prepare=spoil)
    assert result.simulation.engine.iteration == 2
    # a position that nothing is known about gets a stop at once and is closed with it
    assert result.fills() == [ENTRY, Fill(1, "exit", "SELL", 100.0, 100.0)]
    assert ("stop", "OrderAccepted") in [(d.get("role"), d.get("event")) for _, d in result.audit("order")]
    with pytest.raises(RunFailedError, match="ml_basic-BTCUSDT-PERP failed: RuntimeError: lost"):
        raise_failures(result.assembly.components)


def test_a_failed_strategy_enters_nothing_even_where_its_handlers_go_on():
    """The shutdown is asked for, not awaited: the same instant may still bring events."""

    def fail_quietly(assembly):
        assembly.strategies[0].failure = ValueError("earlier")

    assert desk(flat_rows(4), {1: UP}, prepare=fail_quietly).fills() == []


def test_a_start_that_raises_stops_the_engine_itself_and_is_kept():
    broken = []

    def spoil(assembly):
        assembly.strategies[0]._setup = None
        broken.extend(assembly.components)

    with pytest.raises(RuntimeError, match="on_start failed"):
        desk(flat_rows(4), {1: UP}, prepare=spoil)
    with pytest.raises(RunFailedError, match="ml_basic-BTCUSDT-PERP failed: AttributeError"):
        raise_failures(broken)


def test_ctrl_c_inside_a_handler_is_an_interruption_and_no_failure() -> None:
    part = Part()
    with pytest.raises(KeyboardInterrupt):
        part.on_bar(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        raise_failures([part])


# -- live: carry on ----------------------------------------------------------------------------------------


class Clock:
    def timestamp_ns(self) -> int:
        return 7


class LivePart(Part):
    """A component that publishes, and that can be paused."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.component_name = name
        self.clock = Clock()
        self.published: list[AuditRecord] = []
        self.pauses: list[str] = []

    def publish_message(self, topic: str, record: AuditRecord) -> None:
        assert topic == AUDIT_TOPIC
        self.published.append(record)

    def pause(self, reason: str) -> None:
        self.pauses.append(reason)


def fails(part: LivePart, error: BaseException) -> None:
    with pytest.raises(type(error)):
        part.on_bar(error)


def test_live_a_failure_pauses_its_strategy_alarms_and_stops_nothing(capsys) -> None:
    policy, one, other, forecaster = CarryOn(), LivePart("one"), LivePart("other"), LivePart("forecaster")
    policy.cover_strategy(one, forecaster)
    policy.cover_strategy(other)
    raise_failures([policy])
    fails(one, ValueError("boom"))
    fails(forecaster, KeyError("x"))
    assert one.pauses == ["failure:one", "failure:forecaster"]
    assert other.pauses == one.reasons == []
    assert [record.kind for record in one.published] == ["alarm", "error"]
    assert one.published[1].detail["handler"] == "on_bar"
    assert "ValueError: boom" in one.published[1].detail["trace"]
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "alarm: one: on_bar failed: ValueError: boom; nothing is entered until resumed"
    with pytest.raises(RunFailedError, match=r"^one failed: ValueError: boom$"):
        raise_failures([policy])


def test_live_a_failure_of_what_all_depend_on_pauses_every_strategy() -> None:
    policy, one, other, guard = CarryOn(), LivePart("one"), LivePart("other"), LivePart("guard")
    policy.cover_strategy(one)
    policy.cover_strategy(other)
    policy.cover(guard)
    policy.uncover(other)
    fails(guard, OSError("disk"))
    assert one.pauses == ["failure:guard"]
    assert other.pauses == []


def test_live_the_same_failure_is_told_ever_more_rarely() -> None:
    policy, part = CarryOn(), LivePart("part")
    policy.cover(part)
    for _ in range(20):
        fails(part, ValueError("again"))
    assert [r.detail["times"] for r in part.published if r.kind == "alarm"] == [1, 2, 4, 8, 16]


def test_live_a_recorder_that_fails_on_its_own_alarm_is_told_of_on_stderr_alone(capsys) -> None:
    policy, recorder = CarryOn(), LivePart("recorder")
    policy.cover(recorder)
    publish = recorder.publish_message

    def and_fail(topic: str, record: AuditRecord) -> None:
        publish(topic, record)
        fails(recorder, TypeError("inner"))

    recorder.publish_message = and_fail  # type: ignore[method-assign]
    fails(recorder, ValueError("outer"))
    assert [r.kind for r in recorder.published] == ["alarm", "error"]
    assert [line.split("; ")[0] for line in capsys.readouterr().err.splitlines()][:2] == [
        "alarm: recorder: on_bar failed: ValueError: outer",
        "alarm: recorder: on_bar failed: TypeError: inner",
    ]


def test_live_what_is_no_exception_stops_the_run_all_the_same() -> None:
    policy, part = CarryOn(), LivePart("part")
    policy.cover(part)
    fails(part, SystemExit(3))
    assert part.reasons == ["part: SystemExit(3)"]
