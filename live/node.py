"""`python live/node.py [RUN.yaml]`: the run file, the strategies and the models of the backtest, live."""

import configs.interrupts  # noqa: F401  before the libraries that take seconds to load
from live.signals import Signals, block_signals

if __name__ == "__main__":
    block_signals()

# isort: split

import atexit
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Annotated, NoReturn

import typer

from configs.console import command_app, run_app
from configs.errors import ConfigError
from configs.load import load_run
from configs.schema import RunConfig
from live.consent import need_terminal
from live.first_cover import FirstCover
from live.folder_kind import check_kind
from live.operate.roster import RosterBook
from live.options import EXIT_CODES, AtEnd, NodeOptions
from live.venues import Venue, VenueKind, check_venue, find_venue, is_there

__all__ = ["app", "main"]

app = command_app("Trade a run file live: on the rehearsal venue, on the testnet, or for real.")
STATE_ROOT = Path("runs/live")
_UNBOUND = (VenueKind.REHEARSAL, VenueKind.PAPER)  # no order leaves this machine
_SEIZE_SECS = 0.1


@app.command()
def main(
    run_file: Annotated[
        Path | None, typer.Argument(metavar="[RUN.yaml]", help="Default: configs/runs/demo.yaml")
    ] = None,
    kind: Annotated[VenueKind, typer.Option("--venue", help="Where to trade.")] = VenueKind.REHEARSAL,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one value; repeatable.")
    ] = None,
    trade: Annotated[
        bool, typer.Option("--trade", help="Let orders go to testnet or live; without it the node looks on.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before trading for real.")] = False,
    state: Annotated[
        Path | None, typer.Option(metavar="DIR", help="State and audit. Default: runs/live/<name>-<venue>")
    ] = None,
    secs: Annotated[float | None, typer.Option(min=1, help="Stop after so many seconds.")] = None,
    at_end: Annotated[AtEnd, typer.Option(help="Keep protected positions, or flatten.")] = AtEnd.KEEP,
    adopt: Annotated[bool, typer.Option("--adopt", help="Take over what the state does not know.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Set leverage and margin type there.")] = False,
    forget: Annotated[
        bool,
        typer.Option("--forget-roster", help="Trade what the run file says, whatever commands made of it."),
    ] = False,
    speed: Annotated[float, typer.Option(min=0.1, max=1000, help="Of a rehearsal made for this run.")] = 1.0,
) -> int:
    """Run a node until a signal or --secs; 0: it ended flat, 3: with positions that are protected."""
    signals = Signals()
    run = load_run(run_file, overrides or ())
    rehearses = kind is VenueKind.REHEARSAL
    options = NodeOptions(
        kind=kind,
        folder=STATE_ROOT / f"{run.name}-{kind.value}" if state is None else state,
        may_enter=trade or kind in _UNBOUND,
        asks=trade and not yes and kind is VenueKind.LIVE,
        adopt=adopt,
        apply=apply or rehearses,
        at_end=at_end,
        secs=secs,
        speed=speed,
    )
    _check_asked(run, options)
    with _locked(options.folder):
        check_kind(options.folder, kind)
        book = RosterBook(options.folder, run, forget=forget)
        with FirstCover(book.run, _covered_at(run, options), options.folder) as cover:
            if not options.asks:
                cover.look()
            from live.running import start  # noqa: PLC0415  seconds in which a position may be bare

            return EXIT_CODES[start(book, options, signals, cover)]


def _covered_at(run: RunConfig, options: NodeOptions) -> Venue | None:
    """Where a position may be covered before the start goes on; None where nothing may or can be sent."""
    if not options.may_enter or options.kind is VenueKind.PAPER or not is_there(run, options.kind):
        return None
    venue = find_venue(run, options.kind)
    return None if venue.is_spot else venue


def _check_asked(run: RunConfig, options: NodeOptions) -> None:
    """Refuse what cannot be, before anything takes long."""
    check_venue(run, options.kind)
    if options.asks:
        need_terminal()
    if options.at_end is AtEnd.FLATTEN and not options.may_enter:
        raise ConfigError("--at-end flatten closes positions, and without --trade no order is sent")
    if is_there(run, options.kind):
        find_venue(run, options.kind)  # what is wrong with it is told before anything takes long
        if options.speed != 1.0:
            raise ConfigError("--speed is of a rehearsal that the node starts itself; this venue has its own")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The state folder for this process alone; the lock goes with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"--state {folder}: there is a file in the way; name a folder") from error
    with (folder / "lock").open("ab") as file:
        _seize(file, folder)
        yield


def _seize(file: IO[bytes], folder: Path) -> None:
    """The lock; a command may look for an instant whether somebody holds it."""
    for is_last in (False, False, True):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if is_last:
                why = f"{folder} belongs to a node that runs; stop it, or give --state DIR"
                raise ConfigError(why) from None
            time.sleep(_SEIZE_SECS)
        else:
            return


def _leave_at_once() -> NoReturn:
    """Run and end: everything is told by then, and no thread whose request hangs is waited for."""
    try:
        run_app(app)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    atexit._run_exitfuncs()  # what is still on its way to the disk
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: started without
        with suppress(OSError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave_at_once()
