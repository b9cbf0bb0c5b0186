"""`python live/node.py [RUN.yaml]`: the run file, the strategies and the models of the backtest, live."""

import configs.interrupts  # noqa: F401  before the libraries that take seconds to load
from live.signals import Signals, block_signals

if __name__ == "__main__":
    block_signals()

# isort: split

import fcntl
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from nautilus_trader.model import BarType

from actors.faults import raise_failures
from actors.forecaster import ForecastSpec
from catalog.store import bar_type
from catalog.synthetic import ensure_synthetic
from configs.console import command_app, out, run_app, status
from configs.errors import ConfigError, RunFailedError
from configs.load import load_run
from configs.schema import RunConfig
from live.conductor import Conductor
from live.connect import build_node
from live.preflight import Setup, preflight
from live.prepare import Parts, history_bars, load_specs, make_parts, remembered_sides
from live.recorder import AuditFile, Recorder
from live.rest import FuturesRest
from live.stage import staged
from live.venue_client import VenueClient
from live.venues import Venue, VenueKind, check_venue, find_venue, named_rehearsal
from strategies.assembly import check_strategies

__all__ = ["app", "main"]

type Specs = Mapping[str, ForecastSpec]

app = command_app("Trade a run file live: on the rehearsal venue, on the testnet, or for real.")
MODELS_ROOT = Path("artifacts/models")
STATE_ROOT = Path("runs/live")
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
        bool, typer.Option("--trade", help="Let entries go to testnet or live; the rehearsal always does.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before trading for real.")] = False,
    state: Annotated[
        Path | None, typer.Option(metavar="DIR", help="State and audit. Default: runs/live/<name>-<venue>")
    ] = None,
    secs: Annotated[float | None, typer.Option(min=1, help="Stop after so many seconds.")] = None,
    at_end: Annotated[AtEnd, typer.Option(help="Keep protected positions, or flatten.")] = AtEnd.KEEP,
    adopt: Annotated[bool, typer.Option("--adopt", help="Take over what the state does not know.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Set leverage and margin type there.")] = False,
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
        may_enter=trade or rehearses,
        asks=trade and not yes and kind is VenueKind.LIVE,
        adopt=adopt,
        apply=apply or rehearses,
        at_end=at_end,
        secs=secs,
        speed=speed,
    )
    check_venue(run, kind)
    is_there = not rehearses or named_rehearsal(run)
    if is_there:
        find_venue(run, kind)  # what is wrong with it is told before anything takes long
    with _locked(options.folder):
        if run.data.synthetic is not None:
            with status("synthetic market: find, or make once"):
                ensure_synthetic(run)
        specs = load_specs(run, MODELS_ROOT)
        if is_there:
            _trade(run, specs, options, signals)
            return
        bars = history_bars(run, specs)
        minutes = max(_STAGED_HISTORY_MINUTES, (bars + 2) * run.data.bar_minutes)
        with staged(run, history_minutes=minutes, speed=speed) as placed:
            _trade(placed, specs, options, signals)


def _trade(run: RunConfig, specs: Specs, options: _Options, signals: Signals) -> None:
    venue = find_venue(run, options.kind)
    _check(run, specs, venue, options)
    rest = FuturesRest(venue)
    audit = AuditFile(options.folder / "audit")
    try:
        parts = make_parts(run, specs, rest, options.folder, may_enter=options.may_enter)
        outcome = _run(run, venue, parts, audit, signals, options)
        parts.pool.shutdown()
    finally:
        audit.close()
        rest.close()
    out.print(f"stopped: {outcome}", markup=False, highlight=False)
    if outcome == "unsettled":
        raise RunFailedError("the node stopped before everything was settled: look at the venue")


def _check(run: RunConfig, specs: Specs, venue: Venue, options: _Options) -> None:
    """Refuse to start, with a table, while something is not right."""
    setup = Setup(
        run=run,
        kind=options.kind,
        folder=options.folder,
        specs=lambda: specs,
        history_bars=lambda specs: history_bars(run, specs),
        adopt=options.adopt,
        apply=options.apply,
        holds_lock=True,
        expected=remembered_sides(run, options.folder),
    )
    with VenueClient.of(venue) as client:
        report = preflight(setup, client)
        if not report.may_start:
            report.print(sys.stderr)
            raise ConfigError(f"the node does not start: {', '.join(report.failures)} (see the table above)")
        if options.asks:
            held = client.balances()
            typer.confirm(f"Trade for real with key ...{venue.key[-4:]}, {held}?", abort=True)


def _run(
    run: RunConfig, venue: Venue, parts: Parts, audit: AuditFile, signals: Signals, options: _Options
) -> str:
    node = build_node(run, venue)
    heartbeat, assembly = options.folder / "heartbeat", parts.assembly
    heartbeat.touch()
    conductor = Conductor(
        assembly.strategies,
        signals,
        node.handle().stop,
        at_end=options.at_end.value,
        secs=options.secs,
        beat=lambda: os.utime(heartbeat),
        greet=assembly.guard.repeat,
    )
    kinds = tuple(BarType.from_str(bar_type(name, run.data.bar)) for name in run.instruments)
    recorder = Recorder(audit, kinds)
    assembly.guard.watch(node.portfolio)
    # not the audit actor: it keeps every record in memory, which only a backtest wants
    for actor in (recorder, *(a for a in assembly.actors if a is not assembly.audit)):
        node.add_actor(actor)
    for strategy in assembly.strategies:
        node.add_strategy(strategy)
    node.add_actor(conductor)
    components = (*assembly.components, recorder, conductor)
    out.print(f"trading {', '.join(run.instruments)} on {venue.http}", markup=False, highlight=False)
    signals.arm()
    try:
        node.run()
    except RuntimeError as error:
        raise_failures(components)
        raise RunFailedError(f"the node failed: {error}") from error
    raise_failures(components)
    return conductor.outcome


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The state folder for this process alone; the lock goes with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{folder} belongs to a node that runs; stop it, or give --state DIR") from None
        yield


if __name__ == "__main__":
    run_app(app)
