"""`python tests/failing_node.py WHAT FLAG [node arguments]`: a node in which WHAT fails once FLAG exists."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from live.signals import block_signals

if __name__ == "__main__":
    block_signals()

from actors.guard import Guard
from configs.console import run_app
from live import prepare
from live.node import app
from live.record.recorder import Recorder
from strategies import momentum_leverage
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
}


def failing(method: Callable[..., Any], flag: Path) -> Callable[..., Any]:
    """The same, until the flag is there."""

    def either(*args: Any, **kwargs: Any) -> Any:
        if flag.exists():
            raise ZeroDivisionError("broken on purpose")
        return method(*args, **kwargs)

    return either


if __name__ == "__main__":
    what, flag_path, *arguments = sys.argv[1:]
    if what == "limits":  # a venue that takes ten orders in ten minutes
        prepare.order_limits = lambda _: ((600_000_000_000, 10),)
    for owner, name in PARTS.get(what, []):
        setattr(owner, name, failing(getattr(owner, name), Path(flag_path)))
    run_app(app, arguments)
