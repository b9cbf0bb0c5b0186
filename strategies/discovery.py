"""Finds the strategies of this package and checks a run file's parameters against theirs."""

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from pydantic import ValidationError

import strategies
from configs.errors import ConfigError
from configs.groups import Group

__all__ = ["known_strategies", "strategy_and_params"]


@functools.cache
def known_strategies() -> dict[str, ModuleType]:
    """Every module of this package that defines `decide` and `Params`, by name."""
    modules = (
        importlib.import_module(f"strategies.{m.name}") for m in pkgutil.iter_modules(strategies.__path__)
    )
    return {m.__name__.split(".")[-1]: m for m in modules if hasattr(m, "decide") and hasattr(m, "Params")}


def strategy_and_params(use: str, signal: Mapping[str, Any], where: str) -> tuple[ModuleType, Group]:
    """The module called `use` and its Params made of `signal`; ConfigError that names `where` otherwise."""
    known = known_strategies()
    module = known.get(use)
    if module is None:
        raise ConfigError(f"{where}.use: there is no strategy '{use}'; {_hint(use, known)}")
    fields = module.Params.model_fields
    for key in signal:
        if key not in fields:
            raise ConfigError(f"{where}.signal.{key}: unknown key; {_hint(key, fields)}")
    try:
        params: Group = module.Params(**signal)
    except ValidationError as error:
        # a misspelt key also makes the right one look missing: name the cause
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in ("signal", *first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}.{key}: {message} (got {first['input']!r})") from error
    return module, params


def _hint(word: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
