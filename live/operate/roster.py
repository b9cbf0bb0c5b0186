"""Who trades: the strategies of the run file, as an operator's commands have changed them since. Pure but for
the one file.

`DIR/roster.json` is there as soon as a command has changed anything, and a start takes the strategies and
models from it; everything else is the run file's. It belongs to one run file: with another, or with one that
was edited since, the start is refused rather than guessed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from actors.state_file import StateFile
from configs.errors import ConfigError
from configs.load import config_hash
from configs.schema import LiveConfig, ModelConfig, RunConfig, StrategyConfig

__all__ = ["ROSTER_FILE", "Bundles", "Roster", "RosterBook", "commanded", "trade_path"]

ROSTER_FILE = "roster.json"

type Bundles = Mapping[str, Mapping[str, str]]


class Roster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The strategies and models of now, as entries of a run file, and what else commands have changed.

    `base` is the hash of the run file it belongs to. `bundles` are folders of model bundles by strategy and
    model, `paused` the reasons of strategies that enter nothing until somebody resumes them. `leaving` are
    those that look after what is open and go when it is closed.
    """

    base: str
    strategies: tuple[dict[str, Any], ...]
    models: tuple[dict[str, Any], ...]
    bundles: dict[str, dict[str, str]] = {}
    paused: dict[str, str] = {}
    leaving: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: RunConfig) -> "Roster":
        """As the run file has it."""
        return cls(
            base=config_hash(run),
            strategies=tuple(map(_plain, run.strategies)),
            models=tuple(map(_plain, run.models)),
        )

    def applied(self, run: RunConfig) -> RunConfig:
        """The run with these strategies and models; ConfigError when they do not go together."""
        whole = _plain(run) | {"strategies": list(self.strategies), "models": list(self.models)}
        try:
            return RunConfig.model_validate_json(json.dumps(whole), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ConfigError(f"the strategies do not go together: {where}: {first['msg']}") from None

    def add(
        self, newcomers: Sequence[StrategyConfig], models: Sequence[ModelConfig], bundles: Bundles
    ) -> "Roster":
        """With these strategies, in the places of those on the same instruments, and the models they use."""
        places = {strategy["instrument"]: strategy for strategy in map(_plain, newcomers)}
        gone = [_label(s) for s in self.strategies if s["instrument"] in places]
        stay = [places.pop(s["instrument"], s) for s in self.strategies]
        return msgspec.structs.replace(
            self._without(gone),
            strategies=(*stay, *places.values()),
            models=self._joined(models),
            bundles={k: v for k, v in self.bundles.items() if k not in gone}
            | {label: dict(folders) for label, folders in bundles.items()},
        )

    def remove(self, label: str) -> "Roster":
        """Without this strategy; ConfigError for the last one: a node trades something."""
        left = tuple(s for s in self.strategies if _label(s) != label)
        if not left:
            raise ConfigError(f"{label} is the last strategy: stop the node instead")
        return msgspec.structs.replace(self._without([label]), strategies=left)

    def leave(self, label: str) -> "Roster":
        """The strategy goes when it is flat."""
        self.remove(label)  # may it go at all?
        return msgspec.structs.replace(self, leaving=(*(n for n in self.leaving if n != label), label))

    def pause(self, label: str, reason: str) -> "Roster":
        """The strategy enters nothing until it is resumed."""
        return msgspec.structs.replace(self, paused={**self.paused, label: reason})

    def resume(self, label: str | None = None) -> "Roster":
        """The strategy, or all of them, may enter again."""
        left = {} if label is None else {k: v for k, v in self.paused.items() if k != label}
        return msgspec.structs.replace(self, paused=left)

    def use_bundle(self, label: str, model: str, folder: str) -> "Roster":
        """The strategy's model is this bundle from now on."""
        mine = {**self.bundles.get(label, {}), model: folder}
        return msgspec.structs.replace(self, bundles={**self.bundles, label: mine})

    def _without(self, labels: Sequence[str]) -> "Roster":
        return msgspec.structs.replace(
            self,
            bundles={k: v for k, v in self.bundles.items() if k not in labels},
            paused={k: v for k, v in self.paused.items() if k not in labels},
            leaving=tuple(n for n in self.leaving if n not in labels),
        )

    def _joined(self, models: Sequence[ModelConfig]) -> tuple[dict[str, Any], ...]:
        known = {model["name"]: model for model in self.models}
        for model in map(_plain, models):
            name = model["name"]
            if name in known and _described(known[name]) != _described(model):
                raise ConfigError(f"model '{name}' is another one in this node: give it another name")
            known.setdefault(name, model)
        return tuple(known.values())


class RosterBook:
    """The roster that holds, and its file; `run` is the run with the roster applied."""

    def __init__(self, folder: Path, run: RunConfig, *, forget: bool = False) -> None:
        self._file: StateFile[Roster] = StateFile(folder / ROSTER_FILE, Roster)
        self._run_file = run
        self.roster = Roster.of(run)
        stored = self._file.read()
        if forget and stored is not None:
            _need_flat(folder, stored, self.roster)
            self._file.path.unlink()
            stored = None
        self.is_changed = stored is not None
        if stored is not None:
            if stored.base != self.roster.base:
                raise ConfigError(
                    f"{self._file.path}: commands have changed the strategies of another run file, or of an "
                    "earlier version of this one: give that one, or --forget-roster to begin with this one"
                )
            self.roster = stored
            _forget_others(folder, stored)
        self.run = self.roster.applied(run)

    def move(self, live: LiveConfig) -> None:
        """The venue is found elsewhere than the run file says."""
        self._run_file = self._run_file.model_copy(update={"live": live})
        self.run = self.roster.applied(self._run_file)

    def check(self, roster: Roster) -> RunConfig:
        """The run with `roster`; ConfigError when that cannot be."""
        return roster.applied(self._run_file)

    def keep(self, roster: Roster) -> None:
        """Let this one hold from now on: on disk first."""
        if roster == self.roster:
            return
        run = self.check(roster)
        self._file.write(roster)
        self.roster, self.run, self.is_changed = roster, run, True


class _Held(msgspec.Struct):
    """What is needed here of a strategy's `TradeMemory`."""

    trade: Any = None
    pending: Any = None


class _Book(msgspec.Struct):
    """What is needed here of a strategy's `Coins`."""

    instrument: str


def _need_flat(folder: Path, stored: Roster, wanted: Roster) -> None:
    """Nobody else would know the plan of a trade whose strategy is forgotten."""
    gone = {_label(s) for s in stored.strategies} - {_label(s) for s in wanted.strategies}
    for label in sorted(gone):
        memory = StateFile(trade_path(folder, label), _Held).read()
        if memory is not None and (memory.trade is not None or memory.pending is not None):
            raise ConfigError(
                f"--forget-roster: {label} has a trade open, and the run file does not have {label}: "
                "start without it, then close the trade or swap the strategy"
            )


def _forget_others(folder: Path, stored: Roster) -> None:
    """A kill in the middle of a swap leaves the memory of a trade, and of coins, under both names.

    The book of one that is gone for good stays until the instrument has another: dust is in it.
    """
    known = {trade_path(folder, _label(strategy)) for strategy in stored.strategies}
    for path in folder.glob("trade-*.json"):
        if path not in known:
            path.unlink()
    books = {path: StateFile(path, _Book).read() for path in folder.glob("coins-*.json")}
    own = {folder / path.name.replace("trade-", "coins-", 1) for path in known} & books.keys()
    kept = {book.instrument for path, book in books.items() if path in own and book is not None}
    for path in books.keys() - own:
        book = books[path]
        if book is not None and book.instrument in kept:
            path.unlink()


def commanded(folder: Path) -> set[str]:
    """The strategies as commands have left them, by label; none where no command has changed any."""
    stored = StateFile(folder / ROSTER_FILE, Roster).read()
    return set() if stored is None else set(map(_label, stored.strategies))


def trade_path(folder: Path, label: str) -> Path:
    """Where a strategy writes down its trade."""
    return folder / f"trade-{label}.json"


def _plain(group: Any) -> dict[str, Any]:
    values: dict[str, Any] = group.model_dump(mode="json")
    return values


def _label(strategy: Mapping[str, Any]) -> str:
    return StrategyConfig.model_validate_json(json.dumps(strategy), strict=True).label


def _described(model: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two models of one name the same: all but where a bundle lies."""
    return {key: value for key, value in model.items() if key != "bundle"}
