"""Fail loud: the engine logs and swallows whatever a handler raises, so every handler is wrapped once here.

What follows is the component's policy. In a backtest (the default) the first exception is kept on the
component and the system is asked to shut down; the entry point finds it and exits non-zero. A live node
carries on (`CarryOn`): positions need their protection more than ever. What depends on the component enters
nothing until an operator resumes, an alarm is raised, and the node's exit code tells of it at the end.
"""

import functools
import traceback
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from actors.alarms import alarm, say
from actors.messages import AUDIT_TOPIC, AuditRecord
from configs.errors import RunFailedError

__all__ = ["CarryOn", "Failing", "FailurePolicy", "Pausing", "fail_loud", "guarded", "raise_failures"]

_TRACE_CHARS = 2_000


class Failing(Protocol):
    """A component that keeps the first exception of its handlers."""

    @property
    def failure(self) -> BaseException | None:
        """The first exception, None while all is well."""

    @property
    def component_name(self) -> str:
        """What it is called in messages."""


class Pausing(Protocol):
    """What can be told to enter nothing until an operator resumes."""

    def pause(self, reason: str) -> None:
        """Set a flag and return: this is called while an exception is on its way."""


class FailurePolicy(Protocol):
    """What follows when a component's handler has raised; the exception goes on afterwards."""

    def failed(self, component: Any, handler: str, error: BaseException) -> None:
        """Called inside the handler's `except`, on the engine's thread; must not raise."""


class _StopTheRun:
    """A result with a hole in it is none: keep the first exception and ask for shutdown."""

    def failed(self, component: Any, handler: str, error: BaseException) -> None:
        del handler
        if component.failure is None:
            component.failure = error
            component.shutdown_system(f"{component.component_name}: {error!r}")


_STOP_THE_RUN = _StopTheRun()


class CarryOn:
    """A live node's policy: pause what depends on the component, alarm, and go on.

    `failure` and `component_name` are those of the first that failed, for the exit code. An exception that
    comes again and again is told of the 1st, 2nd, 4th, 8th ... time. What is no `Exception` (SystemExit, say)
    stops the run as in a backtest.
    """

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self.component_name = ""
        self._strategies: list[Pausing] = []
        self._serves: dict[str, Pausing] = {}
        self._times: dict[tuple[str, str, str], int] = {}
        self._is_telling = False

    def cover(self, component: Any) -> None:
        """Be the policy of a component that all depend on: once it has failed, nothing is entered."""
        component.failure_policy = self

    def cover_strategy(self, strategy: Any, *parts: Any) -> None:
        """Be the policy of a strategy and of `parts` that serve it alone: if one fails, it enters nothing."""
        self._strategies.append(strategy)
        for component in (strategy, *parts):
            component.failure_policy = self
            self._serves[component.component_name] = strategy

    def uncover(self, strategy: Pausing) -> None:
        """A strategy has left the node."""
        self._strategies = [known for known in self._strategies if known is not strategy]

    def failed(self, component: Any, handler: str, error: BaseException) -> None:
        """As the class says."""
        name = component.component_name
        if self.failure is None:
            self.failure, self.component_name = error, name
        if not isinstance(error, Exception):
            _STOP_THE_RUN.failed(component, handler, error)
            return
        served = self._serves.get(name)
        for strategy in self._strategies if served is None else (served,):
            strategy.pause(f"failure:{name}")
        what = f"{type(error).__name__}: {error}"
        key = (name, handler, type(error).__name__)
        times = self._times[key] = self._times.get(key, 0) + 1
        if times & (times - 1) == 0:
            self._tell(component, handler, what, times, error)

    def _tell(self, component: Any, handler: str, what: str, times: int, error: Exception) -> None:
        text = f"{handler} failed: {what}; nothing is entered until resumed"
        if self._is_telling:  # the one that writes alarms down is the one that fails
            say(f"{component.component_name}: {text}")
            return
        self._is_telling = True
        try:
            alarm(component, text, times=times)
            trace = "".join(traceback.format_exception(error))[-_TRACE_CHARS:]
            record = AuditRecord(
                ts_event=component.clock.timestamp_ns(),
                component=component.component_name,
                instrument="",
                kind="error",
                detail={"handler": handler, "error": what, "times": times, "trace": trace},
            )
            component.publish_message(AUDIT_TOPIC, record)
        finally:
            self._is_telling = False


def guarded[R](handler: Callable[..., R]) -> Callable[..., R]:
    """Wrap one handler: what it raises goes to its component's policy first, then on."""
    wrap = _one_event if handler.__code__.co_argcount == 2 else _any_arguments
    wrapper = functools.update_wrapper(wrap(handler), handler)
    wrapper.__dict__["is_guarded"] = True
    return wrapper


def _one_event[R](handler: Callable[..., R]) -> Callable[..., R]:
    """As `_any_arguments`, for the hot handlers: nothing to pack and unpack on every bar."""

    def wrapper(component: Any, event: Any) -> R:
        try:
            return handler(component, event)
        except BaseException as error:
            _policy(component).failed(component, handler.__name__, error)
            raise

    return wrapper


def _any_arguments[R](handler: Callable[..., R]) -> Callable[..., R]:
    def wrapper(component: Any, *arguments: Any) -> R:
        try:
            return handler(component, *arguments)
        except BaseException as error:
            _policy(component).failed(component, handler.__name__, error)
            raise

    return wrapper


def _policy(component: Any) -> FailurePolicy:
    policy: FailurePolicy = getattr(component, "failure_policy", _STOP_THE_RUN)
    return policy


def fail_loud[T](component_class: type[T]) -> type[T]:
    """Class decorator: every `on_*` handler that the class itself defines is guarded."""
    for name, member in list(vars(component_class).items()):
        if name.startswith("on_") and callable(member) and not getattr(member, "is_guarded", False):
            setattr(component_class, name, guarded(member))
    return component_class


def raise_failures(components: Iterable[Failing]) -> None:
    """Raise RunFailedError naming the first component that failed, its handler's exception as the cause.

    Ctrl-C that happened to arrive inside a handler is raised as KeyboardInterrupt: nothing failed.
    """
    for component in components:
        if isinstance(component.failure, KeyboardInterrupt):
            raise component.failure
        if component.failure is not None:
            what = f"{type(component.failure).__name__}: {component.failure}"
            raise RunFailedError(f"{component.component_name} failed: {what}") from component.failure
