"""`python tests/dying_node.py STEP FLAG [node arguments]`: a node that ends itself at STEP once FLAG exists.

It is `kill -9` by its own hand, at a step of an operator's command that nobody outside could meet.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from live.signals import block_signals

if __name__ == "__main__":
    block_signals()

from actors.control import Answer, Control, Inbox
from actors.forecaster import Forecaster
from configs.console import run_app
from live.node import app
from live.operate import changes
from live.operate.crew import Crew
from live.operate.operations import Operations
from live.operate.roster import RosterBook
from live.operate.workshop import Workshop
from strategies.base import TradingStrategy

BEFORE, AFTER = False, True
STEPS: dict[str, tuple[Any, str, bool]] = {
    "taken": (Operations, "take", BEFORE),
    "prepared": (Workshop, "check", AFTER),
    "closing": (TradingStrategy, "leave", BEFORE),
    "told_to_close": (changes, "close", AFTER),
    "plan_handed_on": (Crew, "hand_on", AFTER),
    "roster_unwritten": (RosterBook, "keep", BEFORE),
    "roster_written": (RosterBook, "keep", AFTER),
    "old_removed": (Control, "take_trader_out", AFTER),
    "new_not_added": (Control, "add_trader", BEFORE),
    "new_added": (Control, "add_trader", AFTER),
    "replaced": (Crew, "replace", AFTER),
    "plan_forgotten": (Crew, "forget_trade", AFTER),
    "joined": (Crew, "join", AFTER),
    "dismissing": (Crew, "dismiss", BEFORE),
    "dismissed": (Crew, "dismiss", AFTER),
    "model_unchanged": (Forecaster, "change_over", BEFORE),
    "model_changed": (Forecaster, "change_over", AFTER),
    "unanswered": (Inbox, "answer", BEFORE),
    "answered": (Inbox, "answer", AFTER),
}


def dying(method: Callable[..., Any], flag: Path, *, after: bool) -> Callable[..., Any]:
    """The same, until the flag is there; a refusal is no step: the command is given again."""

    def either(*args: Any, **kwargs: Any) -> Any:
        is_due = flag.exists() and not any(isinstance(arg, Answer) and not arg.done for arg in args)
        if is_due:
            sys.stdout.write(f"dying at {method.__name__}{args[1:]}\n")
            sys.stdout.flush()
        if is_due and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = method(*args, **kwargs)
        if is_due:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return either


if __name__ == "__main__":
    step, flag_path, *arguments = sys.argv[1:]
    owner, name, is_after = STEPS[step]
    setattr(owner, name, dying(getattr(owner, name), Path(flag_path), after=is_after))
    run_app(app, arguments)
