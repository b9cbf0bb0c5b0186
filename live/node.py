"""`python live/node.py [RUN.yaml]`: the run file, the strategies and the models of the backtest, live."""

import configs.interrupts  # noqa: F401  before the libraries that take seconds to load
from live.signals import Signals, block_signals

if __name__ == "__main__":
    block_signals()

# isort: split

import fcntl
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from nautilus_trader.live import LiveNode

from actors.control import Control, Inbox
from actors.faults import raise_failures
from actors.forecaster import ForecastSpec
from catalog.instruments import symbol_of
from catalog.synthetic import ensure_synthetic
from configs.console import command_app, out, run_app, status
from configs.errors import ConfigError, RunFailedError
from configs.load import load_run
from configs.schema import RunConfig
from live.conductor import Conductor
from live.connect import build_node
from live.consent import need_terminal, seek_consent
from live.operate.crew import Crew
from live.operate.operations import Operations
from live.operate.roster import RosterBook
from live.operate.workshop import Workshop
from live.paper import DIFFERENCES, PaperAccount
from live.policy import carry_on
from live.preflight import Setup, preflight
from live.prepare import GUARD_FILE, Parts, history_bars, load_specs, make_parts, remembered_sides
from live.record.records import Records
from live.stage import staged
from live.sweeper import Sweeper
from live.venue.spot_client import client_of
from live.venues import Venue, VenueKind, check_venue, find_venue, named_rehearsal
from strategies.assembly import Assembly, check_strategies
from strategies.base import TradingStrategy

__all__ = ["app", "main"]

type Specs = Mapping[str, ForecastSpec]

app = command_app("Trade a run file live: on the rehearsal venue, on the testnet, or for real.")
MODELS_ROOT = Path("artifacts/models")
STATE_ROOT = Path("runs/live")
_UNBOUND = (VenueKind.REHEARSAL, VenueKind.PAPER)  # no order leaves this machine
_SEIZE_SECS = 0.1
_PATIENCE_SECS, _LONG_PATIENCE_SECS = 5.0, 30.0  # a start that waits leaves nothing bare, or a position
_STAGED_HISTORY_MINUTES = 11_520  # eight days: correlations have something to begin with


class AtEnd(StrEnum):
    """What becomes of an open position when the node is stopped."""

    KEEP = "keep"
    FLATTEN = "flatten"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    kind: VenueKind
    folder: Path
    may_enter: bool
    asks: bool
    adopt: bool
    apply: bool
    at_end: AtEnd
    secs: float | None
    speed: float


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
) -> None:
    """Run a node until a signal or --secs; 0: it ended as asked, and nothing is unprotected."""
    signals = Signals()
    run = load_run(run_file, overrides or ())
    check_strategies(run)
    rehearses = kind is VenueKind.REHEARSAL
    options = _Options(
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
        _start(run, options, signals, forget=forget)


def _start(run: RunConfig, options: _Options, signals: Signals, *, forget: bool) -> None:
    """Find the strategies and their models, and where no venue is named stage one."""
    if run.data.synthetic is not None:
        with status("synthetic market: find, or make once"):
            ensure_synthetic(run)
    book = RosterBook(options.folder, run, forget=forget)
    run = _current(book)
    specs = load_specs(run, MODELS_ROOT, book.roster.bundles)
    if _is_there(run, options):
        _trade(book, specs, options, signals)
        return
    minutes = max(_STAGED_HISTORY_MINUTES, (history_bars(run, specs) + 2) * run.data.bar_minutes)
    with staged(run, history_minutes=minutes, speed=options.speed) as placed:
        book.move(placed.live)
        _trade(book, specs, options, signals)


def _is_there(run: RunConfig, options: _Options) -> bool:
    """Whether there is a venue to trade on; a rehearsal that none names is made."""
    return options.kind is not VenueKind.REHEARSAL or named_rehearsal(run)


def _check_asked(run: RunConfig, options: _Options) -> None:
    """Refuse what cannot be, before anything takes long."""
    check_venue(run, options.kind)
    if options.asks:
        need_terminal()
    if options.at_end is AtEnd.FLATTEN and not options.may_enter:
        raise ConfigError("--at-end flatten closes positions, and without --trade no order is sent")
    if _is_there(run, options):
        find_venue(run, options.kind)  # what is wrong with it is told before anything takes long


def _current(book: RosterBook) -> RunConfig:
    """The run with what commands have made of it."""
    if book.is_changed:
        check_strategies(book.run)
        names = ", ".join(strategy.label for strategy in book.run.strategies)
        out.print(f"strategies as commands have left them: {names}", markup=False, highlight=False)
    return book.run


def _trade(book: RosterBook, specs: Specs, options: _Options, signals: Signals) -> None:
    run = book.run
    venue = find_venue(run, options.kind)
    _check(run, specs, venue, options)
    client = client_of(venue)
    records = Records(run, options.folder)
    try:
        parts = make_parts(
            run,
            specs,
            client,
            options.folder,
            may_enter=options.may_enter,
            is_paper=venue.is_paper,
            keep=records.keep,
        )
        outcome = _run(book, venue, parts, records, specs, signals, options)
        parts.pool.shutdown()
    finally:
        records.close()
        client.close()
    out.print(f"stopped: {outcome}", markup=False, highlight=False)
    if venue.is_paper and outcome == "protected":
        out.print("paper: what is open ends here, without a result", markup=False, highlight=False)
    if outcome == "unsettled":
        raise RunFailedError("the node stopped before everything was settled: look at the venue")


def _check(run: RunConfig, specs: Specs, venue: Venue, options: _Options) -> None:
    """Refuse to start, with a table, while something is not right."""
    expected = remembered_sides(run, options.folder)
    setup = Setup(
        run=run,
        kind=options.kind,
        folder=options.folder,
        specs=lambda: specs,
        history_bars=lambda specs: history_bars(run, specs),
        adopt=options.adopt,
        apply=options.apply,
        may_trade=options.may_enter,
        holds_lock=True,
        expected=expected,
        patience_secs=_LONG_PATIENCE_SECS if expected else _PATIENCE_SECS,
    )
    with client_of(venue) as client:
        report = preflight(setup, client)
        if not report.may_start:
            report.print(sys.stderr)
            raise ConfigError(f"the node does not start: {', '.join(report.failures)} (see the table above)")
        for row in report.rows:
            if row.outcome == "warned":
                out.print(f"warning: {row.check}: {row.found}: {row.advice}", markup=False, highlight=False)
        if options.kind is VenueKind.LIVE and options.may_enter:
            seek_consent(client, venue.key, symbol_of(run.instruments[0]), ask=options.asks)


def _run(
    book: RosterBook,
    venue: Venue,
    parts: Parts,
    records: Records,
    specs: Specs,
    signals: Signals,
    options: _Options,
) -> str:
    run, assembly = book.run, parts.assembly
    control = Control(Inbox(options.folder / "commands"), assembly.bar_types)
    node = build_node(run, venue, options.folder, control)
    traders = list(assembly.strategies)
    conductor, actors = _actors(node, traders, venue, assembly, signals, options)
    watchers = records.components(traders, node.portfolio, specs, venue=options.kind.value)
    assembly.guard.watch(node.portfolio)
    # not the audit actor: it keeps every record in memory, which only a backtest wants
    for actor in (*watchers, *(a for a in assembly.actors if a is not assembly.audit)):
        node.add_actor(actor)
    for strategy in assembly.strategies:
        node.add_strategy(strategy)
    for actor in actors:
        node.add_actor(actor)
    components: tuple[Any, ...] = (*assembly.components, *watchers, *actors, control)
    policy = carry_on(assembly, components)
    crew = Crew(run, assembly, traders, parts.feeds, specs, options.folder / GUARD_FILE, policy)
    crew.serve(control, watchers)
    out.print(f"trading {', '.join(run.instruments)} on {venue.http}", markup=False, highlight=False)
    signals.arm()
    with _workshop(venue, records, options) as workshop:
        control.serve(Operations(book, crew, control, workshop, conductor, _facts(run, venue)))
        try:
            node.run()
        except RuntimeError as error:
            raise_failures((*components, policy))
            raise RunFailedError(_told(error, venue)) from error
    raise_failures((*components, policy))
    return conductor.outcome


def _told(error: RuntimeError, venue: Venue) -> str:
    """Why the engine has ended, in words that say what to do."""
    if "waiting for engine connections" in str(error):
        return f"no connection to {venue.http} and its streams: see live.base_url_*, then start again"
    return f"the node failed: {error}"


def _actors(
    node: LiveNode,
    traders: list[TradingStrategy],
    venue: Venue,
    assembly: Assembly,
    signals: Signals,
    options: _Options,
) -> tuple[Conductor, tuple[Any, ...]]:
    """What is added to a node beside the run's own components: the conductor, and all of them."""
    heartbeat = options.folder / "heartbeat"
    heartbeat.touch()
    sweeps = options.may_enter and not venue.is_paper and not venue.is_spot  # without --trade nothing is sent
    sweeper = Sweeper(lambda: traders, client_of(venue)) if sweeps else None
    conductor = Conductor(
        traders,
        signals,
        node.handle().stop,
        at_end=options.at_end.value,
        secs=options.secs,
        beat=lambda: os.utime(heartbeat),
        greet=assembly.guard.repeat,
        sweeper=sweeper,
    )
    actors: tuple[Any, ...] = (conductor,) if sweeper is None else (conductor, sweeper)
    if venue.is_paper:
        names = [str(strategy.instrument.id) for strategy in traders]
        actors = (*actors, PaperAccount(names, options.folder))
        _tell_differences()
    return conductor, actors


@contextmanager
def _workshop(venue: Venue, records: Records, options: _Options) -> Iterator[Workshop]:
    workshop = Workshop(
        venue,
        options.folder,
        MODELS_ROOT,
        records.keep,
        may_trade=options.may_enter,
        sets_account=options.apply,
    )
    try:
        yield workshop
    finally:
        workshop.close()


def _facts(run: RunConfig, venue: Venue) -> dict[str, Any]:
    """What `status` says of the node itself."""
    return {"run": run.name, "venue": venue.kind.value, "address": venue.http, "pid": os.getpid()}


def _tell_differences() -> None:
    out.print("paper: live market, orders filled by the engine's sandbox; unlike the venue:", highlight=False)
    for line in DIFFERENCES:
        out.print(f"- {line}", markup=False, highlight=False)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The state folder for this process alone; the lock goes with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
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


if __name__ == "__main__":
    run_app(app)
