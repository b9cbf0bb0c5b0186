"""Nautilus's own risk engine as a second line behind ours, set from the same run file.

It knows an order's notional and the rate of orders, nothing of positions, and it denies exits and stops as it
does entries (measured: a reduce-only order beyond the limit is denied). So it is no tool for a limit that
must bind: it stands far enough behind ours to catch a broken size and never a position that has grown.
"""

from collections.abc import Sequence

from nautilus_trader.risk import RiskEngineConfig

from configs.schema import RunConfig

__all__ = ["NOTIONAL_ROOM", "second_line"]

NOTIONAL_ROOM = 5.0  # how far a position may grow beyond the largest permitted entry and still be closed
_UNLIMITED_PER_SEC = 1_000_000


def second_line(run: RunConfig, instruments: Sequence[str]) -> RiskEngineConfig:
    """The engine's limit in a backtest: where `risk.max_notional` is set, an order's notional.

    It is `NOTIONAL_ROOM` times `max_notional`; without one there is none, because a limit fixed at the start
    would in the end deny the exits of an account that has grown. There is no limit on the rate of orders: on
    bars a whole market's orders fall into one instant, and stops would be denied.
    """
    rate, notional = f"{_UNLIMITED_PER_SEC}/00:00:01", {}
    if run.risk.max_notional is not None:
        notional = dict.fromkeys(instruments, f"{NOTIONAL_ROOM * run.risk.max_notional:.8f}")
    return RiskEngineConfig(
        max_order_submit_rate=rate,
        max_order_modify_rate=rate,
        max_notional_per_order=notional,
    )
