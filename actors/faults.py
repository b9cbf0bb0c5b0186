"""Fail loud: the engine logs and swallows whatever a handler raises, so every handler is wrapped once here.

The first exception is kept on the component, entries stop, and the system is asked to shut down; the entry
point finds the failure afterwards and exits non-zero.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from configs.errors import RunFailedError

__all__ = ["Failing", "fail_loud", "guarded", "raise_failures"]


class Failing(Protocol):
    """A component that keeps the first exception of its handlers."""

    failure: BaseException | None
    component_name: str


def guarded[R](handler: Callable[..., R]) -> Callable[..., R]:
    """Wrap one handler: keep the first exception on its component, ask for shutdown, raise it again."""
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
            _keep(component, error)
            raise

    return wrapper


def _any_arguments[R](handler: Callable[..., R]) -> Callable[..., R]:
    def wrapper(component: Any, *arguments: Any) -> R:
        try:
            return handler(component, *arguments)
        except BaseException as error:
            _keep(component, error)
            raise

    return wrapper


def _keep(component: Any, error: BaseException) -> None:
    if component.failure is None:
        component.failure = error
        component.shutdown_system(f"{component.component_name}: {error!r}")


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
