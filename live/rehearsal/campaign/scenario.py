"""One scenario of a campaign, as plain values: a market, a run file, what goes wrong, and how it ends.

A scenario is a function of its seed alone (`live.rehearsal.campaign.generate`). Wall seconds throughout,
counted from the moment at which the first node began to trade, unless a name says otherwise.
"""

from typing import Any, Literal

import msgspec

__all__ = ["Command", "Ending", "Fault", "Kill", "Kind", "Market", "Mood", "Move", "Scenario", "Toward"]

Ending = Literal["keep", "flatten", "kill"]
Kind = Literal["um", "spot"]
Toward = Literal["up", "down", "gain", "loss"]


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """A synthetic market: volatility of a minute, spread and the depth of a level.

    `speed` is market seconds a wall second while the node trades, `start_speed` while a node starts.
    """

    minute_volatility_bps: float
    spread_bps: float
    depth_quote: float
    trades_a_minute: int
    speed: float
    start_speed: float


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """The price of a symbol jumps by `percent` for good; to the gain or the loss of what is held then.

    Where nothing is held a gain is up and a loss is down.
    """

    at_secs: float
    symbol: str
    percent: float
    toward: Toward


class Mood(msgspec.Struct, frozen=True, kw_only=True):
    """A sentiment index: `before` until `due_minutes` of the market after the beginning, then `after`.

    The service that tells it fails for `failing` of all requests (a share).
    """

    before: int
    after: int
    due_minutes: int
    failing: float = 0.0


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A named fault of `live.rehearsal.faults.script`, at `at_secs`; None: before the node starts."""

    values: dict[str, Any]
    at_secs: float | None


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """kill -9 at the `nth` time that `step` comes about in a life of the node (`steps.STEPS`).

    For the step `random` at `at_secs` of that life's trading; the node stays dead for `dead_secs`.
    """

    step: str
    nth: int = 1
    at_secs: float = 0.0
    dead_secs: float = 0.0


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's command (`live.command`) at `at_secs` of the trading of a life, the first one is 0.

    He asks again until it is done, in later lives where a kill came before the answer.
    """

    name: str
    life: int
    at_secs: float


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What is played.

    `run` is the run file but for the catalog and the addresses. `kills` are one a life: the second counts
    in the life after the first. `fault_classes` and `kill_steps` are what it was made for (`none` without).
    The moves, faults and kills lie within `trading_secs`; then all faults end and the node may settle. It is
    stopped by SIGTERM and keeps or flattens, or is killed, started once more and then stopped. `kind` is the
    market: USD-M futures or spot. `has_model`: the strategy asks the campaign's model (`model`), whose bundle
    the run does not name yet; with a `mood` it asks a sentiment index as well. `commands` come one after the
    other. `stage` is what it was bent for (`stages.STAGES`), empty for none.
    """

    seed: int
    symbols: tuple[str, ...]
    balance: str
    leverage: int
    market: Market
    run: dict[str, Any]
    moves: tuple[Move, ...]
    faults: tuple[Fault, ...]
    kills: tuple[Kill, ...]
    trading_secs: float
    ending: Ending
    fault_classes: tuple[str, ...] = ()
    kill_steps: tuple[str, ...] = ()
    kind: Kind = "um"
    has_model: bool = False
    mood: Mood | None = None
    commands: tuple[Command, ...] = ()
    stage: str = ""
