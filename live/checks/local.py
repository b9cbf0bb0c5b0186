"""Preflight's checks of this machine: model bundles, disk, state file, lock."""

import fcntl
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from actors.risk_state import RiskMemory
from actors.state_file import StateFile
from configs.errors import DataError
from live.checks.report import Context, Row, failed, ok, warned
from live.paper import ACCOUNT_FILE, paper_balance
from live.venues import VenueKind

__all__ = [
    "GUARD_FILE",
    "LOCK_FILE",
    "check_disk",
    "check_forgotten",
    "check_lock",
    "check_models",
    "check_state",
]

GUARD_FILE, LOCK_FILE = "guard.json", "lock"
_DAY_NS = 86_400 * 10**9
_GIB = 2**30


def check_models(context: Context) -> Row:
    """Every bundle was verified as it was loaded; none learned from too old a market."""
    predictors = [p for spec in context.specs.values() for p in spec.predictors]
    if not predictors:
        return ok("models", "none used")
    most = context.tolerances.model_age_days
    now_ns = _market_now_ns(context)
    ages = {p.folder.name: (now_ns - _learned_until(p.metadata)) / _DAY_NS for p in predictors}
    oldest, age = max(ages.items(), key=lambda item: item[1])
    found = f"{len(ages)} verified, the oldest ({oldest}) learned until {max(0.0, age):.1f} days ago"
    if age > most:
        advice = f"train it again with newer data (models/train.py); {most:g} days are allowed"
        rehearsal = context.setup.kind is VenueKind.REHEARSAL
        return warned("models", found, advice) if rehearsal else failed("models", found, advice)
    inexact = [p.folder.name for p in predictors if not p.repeats_bits]
    if inexact:
        advice = "it was trained on another kind of CPU; train it here if decisions must repeat to the bit"
        return warned("models", f"{found}; {inexact[0]} gives other last digits here", advice)
    return ok("models", found)


def _learned_until(metadata: dict[str, object]) -> int:
    """The end (ns UTC) of what a model learned from; 1970 for a bundle that does not say."""
    period = metadata.get("training_period")
    end = period.get("end_ns") if isinstance(period, dict) else None
    return end if isinstance(end, int) else 0


def _market_now_ns(context: Context) -> int:
    """Now; of a rehearsal, which may replay any time, the newest bar's."""
    if context.setup.kind is not VenueKind.REHEARSAL:
        return time.time_ns()
    bars = context.history(context.symbols[0], 1)
    return bars[-1].close_ms * 1_000_000 if bars else time.time_ns()


def check_disk(context: Context) -> Row:
    """Room for the state, the audit stream and the recordings."""
    folder = _existing(context.setup.folder)
    free, least = shutil.disk_usage(folder).free / _GIB, context.tolerances.free_gib
    found = f"{free:.1f} GiB free for {context.setup.folder}"
    if not os.access(folder, os.W_OK):
        return failed(
            "disk", f"{folder} cannot be written to", "give its owner the right, or use --state DIR"
        )
    if free < least:
        return failed("disk", found, f"make room: {least:g} GiB are wanted, or use --state on another disk")
    return ok("disk", found)


def check_state(context: Context) -> Row:
    """What must outlive a restart can be read and belongs to this account."""
    path = context.setup.folder / GUARD_FILE
    strange = _of_another_kind(context)
    if strange:
        return failed("state", strange, "give each venue its own state folder (--state DIR)")
    try:
        memory = StateFile(path, RiskMemory).read()
        if context.is_paper:
            paper_balance(context.run, context.setup.folder)
    except DataError as error:
        return failed(
            "state", str(error), "restore the file from a copy; delete it only after a look at the account"
        )
    if memory is None:
        return ok("state", f"no {path} yet: risk limits begin anew")
    account = f"BINANCE {context.rules(context.symbols[0]).margin_asset}"
    if memory.account != account:
        found = f"{path} is of account '{memory.account}', this run trades '{account}'"
        return failed("state", found, "give each account its own state folder (--state DIR)")
    seen = datetime.fromtimestamp(memory.ts_event / 1e9, UTC)
    found = f"{path}, last written {seen:%Y-%m-%dT%H:%M}Z"
    if memory.kill.halts:
        advice = "find out why; the node starts, and enters nothing until live/command.py DIR resume"
        return warned("state", f"{found}; the kill switch is thrown ({', '.join(memory.kill.halts)})", advice)
    return ok("state", found)


def _of_another_kind(context: Context) -> str:
    """A paper node would take a real trade for lost, and a real one would trust paper's risk limits."""
    folder = context.setup.folder
    has_state, has_paper = (folder / GUARD_FILE).exists(), (folder / ACCOUNT_FILE).exists()
    if context.is_paper and has_state and not has_paper:
        return f"{folder} is of a node that trades on a venue, not on paper"
    return f"{folder} is of a paper node" if has_paper and not context.is_paper else ""


def check_forgotten(context: Context) -> Row:
    """Paper: what the state remembers as open is gone with the sandbox that it was open in."""
    known = sorted(context.setup.expected.items())
    gone = ", ".join(f"{symbol} {'long' if trade.side > 0 else 'short'}" for symbol, trade in known)
    if not gone:
        return ok("open", "the sandbox begins flat, and nothing else is remembered")
    advice = "it counts as closed without a result: the sandbox forgets positions when it ends"
    return warned("open", f"remembered, but not there any more: {gone}", advice)


def check_lock(context: Context) -> Row:
    """No other node uses the state folder."""
    path = context.setup.folder / LOCK_FILE
    if context.setup.holds_lock:
        return ok("lock", f"{path} is this node's")
    if not path.exists():
        return ok("lock", f"no node uses {context.setup.folder}")
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = f"a node that runs holds {path}"
            return failed("lock", found, "stop that node, or give this one its own folder with --state DIR")
    return ok("lock", f"no node uses {context.setup.folder}")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above that is there."""
    folder = folder.absolute()
    return next((each for each in (folder, *folder.parents) if each.exists()), Path("/"))
