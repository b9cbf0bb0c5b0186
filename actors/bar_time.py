"""When a bar closed: on the grid of its length, whatever the feed stamps it with.

The live adapter stamps a bar with the venue's close time, a millisecond before the grid; stored bars lie
on it.
"""

from nautilus_trader.model import BarType

__all__ = ["closed_at", "length_ns"]


def length_ns(kind: BarType) -> int:
    """Length of a type's bars in nanoseconds."""
    return round(kind.spec.timedelta.total_seconds()) * 10**9


def closed_at(ts_event: int, bar_ns: int) -> int:
    """The grid time at or after a bar's stamp.

    >>> closed_at(59_999_000_000, 60_000_000_000)
    60000000000
    """
    return -(-ts_event // bar_ns) * bar_ns
