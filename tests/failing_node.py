"""`python tests/failing_node.py WHAT FLAG [node arguments]`: a node in which WHAT fails once FLAG exists.

What is in ONCE takes the flag away as it fails: it fails a single time. What is in FIRST fails at an
object's first call or not at all: those who were at work before the flag go on.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from live.signals import block_signals

if __name__ == "__main__":
    block_signals()

from actors.control import Control
from actors.forecaster import Forecaster
from actors.guard import Guard
from configs.console import run_app
from live import prepare
from live.node import app
from live.record.recorder import Recorder
from strategies import momentum_leverage
from strategies.assembly import Builder
from strategies.keeper import TradeKeeper
from strategies.live_care import LiveCare
from strategies.orders import OrderDesk

PARTS: dict[str, list[tuple[Any, str]]] = {
    "decide": [(momentum_leverage, "decide")],
    "guard": [(Guard, "_measure")],
    "recorder": [(Recorder, "_put")],
    "fill": [(TradeKeeper, "filled")],
    "protect": [(TradeKeeper, "_match"), (TradeKeeper, "last_resort"), (TradeKeeper, "exit")],
    "look": [(LiveCare, "_look")],
    "stop": [(OrderDesk, "place")],
    "build": [(Builder, "build")],
    "build_each_time": [(Builder, "build")],
    "begin": [(LiveCare, "start")],
    "adopt": [(TradeKeeper, "resume")],
    "first_look": [(TradeKeeper, "protect")],
    "add": [(Control, "add_trader")],
    "model": [(Forecaster, "change_over")],
}
ONCE = {"build", "begin", "adopt", "first_look", "add", "model"}
FIRST = {"first_look"}


def failing(
    method: Callable[..., Any], flag: Path, *, once: bool = False, first: bool = False
) -> Callable[..., Any]:
    """The same, until the flag is there."""
    known: list[Any] = []

    def either(*args: Any, **kwargs: Any) -> Any:
        is_known = first and any(args[0] is one for one in known)
        if first and not is_known:
            known.append(args[0])
        if flag.exists() and not is_known:
            if once:
                flag.unlink()
            raise ZeroDivisionError("broken on purpose")
        return method(*args, **kwargs)

    return either


if __name__ == "__main__":
    what, flag_path, *arguments = sys.argv[1:]
    if what == "limits":  # a venue that takes ten orders in ten minutes
        prepare.order_limits = lambda _: ((600_000_000_000, 10),)
    for owner, name in PARTS.get(what, []):
        method = getattr(owner, name)
        setattr(owner, name, failing(method, Path(flag_path), once=what in ONCE, first=what in FIRST))
    run_app(app, arguments)
