"""scalper: a few seconds with the crowd, where the move that is expected pays for the way in and out.

Idea: over seconds, prices follow who is in a hurry (signed trades), who waits (the sizes at the best bid and
ask) and, at times, their own last move. The move expected, in basis points, is

    continuation_5s x return_5s + continuation_30s x return_30s + flow_bps x trade_imbalance_5s
        + book_bps x book_imbalance

with returns in basis points; a negative continuation expects a move to be taken back. It is traded only if

- `min_edge_bps` is left of it after `cost_bps` twice and the spread once: most signals do not pay their fees;
- book and flow both lean to its side, by `min_book_imbalance` and `min_flow_imbalance`;
- the spread is at most `max_spread_bps`, and at least `min_depth` (quote currency) stands at the best price
  on the side one leaves by;
- what one looks at is fresh: the feed at most `max_latency_ms` behind its best, the quote at most
  `max_quote_age_ms` old.

Full confidence at an edge of `full_edge_bps`. All of it is the tape's (models/tape.py); without one, while it
warms up, or when a value is no number, there is no opinion. Stop, target, time stop, the post-only entry and
the most trades an hour are the run file's.
"""

import math
from typing import Annotated, NamedTuple

from pydantic import Field, model_validator

from configs.groups import Group, NonNegative, Positive
from strategies.values import Inputs, Intent, View

__all__ = ["Params", "decide", "inputs"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
_BPS = 1e4


class _Tape(NamedTuple):
    """What is read of the tape, by the features' names."""

    spread_bps: float
    bid_depth: float
    ask_depth: float
    book_imbalance: float
    trade_imbalance_5s: float
    return_5s: float
    return_30s: float
    quote_age_ms: float
    feed_latency_ms: float


class Params(Group):
    """The `signal` group of the run file. `cost_bps` is that of one side: fee and slippage."""

    continuation_5s: float = 0.0
    continuation_30s: float = 0.5
    flow_bps: NonNegative = 3.0
    book_bps: NonNegative = 1.0
    min_book_imbalance: Share = 0.1
    min_flow_imbalance: Share = 0.1
    cost_bps: NonNegative = 3.5
    min_edge_bps: NonNegative = 0.5
    full_edge_bps: Positive = 3.0
    max_spread_bps: Positive = 1.0
    min_depth: NonNegative = 5_000.0
    max_latency_ms: Positive = 100.0
    max_quote_age_ms: Positive = 1_000.0

    @model_validator(mode="after")
    def _ordered(self) -> "Params":
        if self.full_edge_bps <= self.min_edge_bps:
            raise ValueError(
                f"full_edge_bps ({self.full_edge_bps}) must lie above min_edge_bps ({self.min_edge_bps})"
            )
        return self


def inputs(params: Params) -> Inputs:
    """What it reads of the tape."""
    return Inputs(features=_Tape._fields)


def decide(view: View, params: Params) -> Intent | None:
    """Long, short, or nothing (None) at this bar's close."""
    tape = _Tape(*(view.features.get(name, math.nan) for name in _Tape._fields))
    if not all(math.isfinite(value) for value in tape) or not _fit_to_trade(tape, params):
        return None
    expected = _expected_bps(tape, params)
    side = 1 if expected > 0.0 else -1
    edge = side * expected - 2.0 * params.cost_bps - tape.spread_bps
    if not 0.0 < edge < math.inf or edge < params.min_edge_bps or not _leans(tape, side, params):
        return None
    if side < 0 and not view.allow_short and view.side <= 0:
        return None
    return Intent(side, min(1.0, edge / params.full_edge_bps), _reasons(tape, side))


def _fit_to_trade(tape: _Tape, params: Params) -> bool:
    return (
        0.0 < tape.spread_bps <= params.max_spread_bps
        and tape.quote_age_ms <= params.max_quote_age_ms
        and tape.feed_latency_ms <= params.max_latency_ms
    )


def _expected_bps(tape: _Tape, params: Params) -> float:
    moved = params.continuation_5s * tape.return_5s + params.continuation_30s * tape.return_30s
    return _BPS * moved + params.flow_bps * tape.trade_imbalance_5s + params.book_bps * tape.book_imbalance


def _leans(tape: _Tape, side: int, params: Params) -> bool:
    """Whether book and flow point the same way, and one could leave again."""
    depth = tape.bid_depth if side > 0 else tape.ask_depth
    return (
        side * tape.book_imbalance >= params.min_book_imbalance
        and side * tape.trade_imbalance_5s >= params.min_flow_imbalance
        and depth >= params.min_depth
    )


def _reasons(tape: _Tape, side: int) -> tuple[str, ...]:
    pressure = ("book_bid", "flow_buy") if side > 0 else ("book_ask", "flow_sell")
    return (*pressure, "with_move" if side * tape.return_30s > 0.0 else "against_move")
