"""A node from its parts to its end: preflight, history, the engine, and what is left behind."""

import gc
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nautilus_trader.live import LiveNode

from actors.alarms import say
from actors.control import Control, Inbox
from actors.faults import raise_failures
from actors.forecaster import ForecastSpec
from actors.guard import Guard
from catalog.instruments import symbol_of
from catalog.synthetic import ensure_synthetic
from configs.console import out_line, status
from configs.errors import ConfigError, RunFailedError
from configs.schema import RunConfig
from live.conductor import Conductor
from live.connect import build_node
from live.consent import seek_consent
from live.first_cover import FirstCover
from live.folder_kind import note_kind
from live.heartbeat import Heartbeat
from live.operate.crew import Crew
from live.operate.operations import Operations
from live.operate.roster import RosterBook
from live.operate.workshop import Workshop
from live.options import NodeOptions
from live.outside import Outside, no_columns
from live.paper import DIFFERENCES, PaperAccount
from live.policy import carry_on
from live.preflight import Setup, preflight
from live.prepare import GUARD_FILE, Parts, history_bars, load_specs, make_parts, remembered
from live.record.records import Records
from live.signals import Signals
from live.stage import staged
from live.sweeper import Sweeper
from live.venue.client import VenueClient
from live.venue.spot_client import client_of
from live.venues import Venue, VenueKind, find_venue, is_there
from strategies.assembly import Assembly, check_strategies
from strategies.base import TradingStrategy

__all__ = ["start"]

type Specs = Mapping[str, ForecastSpec]

MODELS_ROOT = Path("artifacts/models")
_PATIENCE_SECS, _LONG_PATIENCE_SECS = 5.0, 30.0  # a start that waits leaves nothing bare, or a position
_STAGED_HISTORY_MINUTES = 11_520  # eight days: correlations have something to begin with
_SWITCH_SECS = 0.0005  # a thread that writes keeps the node's waiting for no longer


def start(book: RosterBook, options: NodeOptions, signals: Signals, cover: FirstCover) -> str:
    """Find the strategies and their models, and where no venue is named stage one; then trade until the end.

    `cover` looks between the parts of the start. Returns what was left behind: flat or protected.
    """
    run = _current(book)
    if run.data.synthetic is not None:
        with status("synthetic market: find, or make once"):
            ensure_synthetic(run)
    outside = Outside(no_columns(run))
    specs = load_specs(run, MODELS_ROOT, book.roster.bundles, outside.columns)
    if is_there(run, options.kind):
        outside.begin(run, specs)
        return _trade(book, specs, outside, cover, options, signals)
    if run.data.ticks and options.speed != 1.0:
        raise ConfigError("--speed: bars of a second are made by this machine's clock; rehearse them at 1")
    minutes = max(_STAGED_HISTORY_MINUTES, (history_bars(run, specs) + 2) * run.data.bar_secs // 60)
    with staged(run, history_minutes=minutes, speed=options.speed) as placed:
        book.move(placed.live)
        if run.sentiment.url is None:
            outside.replay(run, specs, placed.shift_ns)
        else:
            outside.begin(run, specs)
        return _trade(book, specs, outside, cover, options, signals)


def _current(book: RosterBook) -> RunConfig:
    """The run with what commands have made of it."""
    check_strategies(book.run)
    if book.is_changed:
        names = ", ".join(strategy.label for strategy in book.run.strategies)
        out_line(f"strategies as commands have left them: {names}")
    return book.run


def _trade(
    book: RosterBook,
    specs: Specs,
    outside: Outside,
    cover: FirstCover,
    options: NodeOptions,
    signals: Signals,
) -> str:
    run = book.run
    venue = find_venue(run, options.kind)
    if not options.asks:
        cover.look()
    _check(run, specs, outside, venue, options)
    note_kind(options.folder, options.kind)
    cover.look()
    client = client_of(venue)
    records = Records(run, options.folder, client)
    cover.tell_to(records.put)
    with _closing(records, client):
        parts = make_parts(
            run,
            specs,
            client,
            options.folder,
            outside,
            may_enter=options.may_enter,
            is_paper=venue.is_paper,
            replays=venue.kind is VenueKind.REHEARSAL,
            keep=records.keep,
        )
        outcome, unkept = _run(book, venue, parts, records, specs, outside, cover, signals, options)
        if outcome != "unsettled":
            Heartbeat(options.folder).end(outcome)  # at once: to write the records may take long
        parts.pool.shutdown(wait=False, cancel_futures=True)
    out_line(f"stopped: {outcome}")
    if venue.is_paper and outcome == "protected":
        out_line("paper: what is open ends here, without a result")
    _tell_failed(outcome, unkept, records.lost)
    return outcome


@contextmanager
def _closing(records: Records, client: VenueClient) -> Iterator[None]:
    """Close both at the end; what the records have lost does not hide what went wrong before."""
    try:
        yield
    except BaseException:
        records.close()
        if records.lost:
            say(records.lost)
        raise
    else:
        records.close()
    finally:
        client.close()


def _tell_failed(outcome: str, unkept: str, lost: str) -> None:
    unsettled = "the node stopped before everything was settled: look at the venue"
    failed = [text for text in (unsettled if outcome == "unsettled" else "", unkept, lost) if text]
    if failed:
        raise RunFailedError("; ".join(failed))


def _check(run: RunConfig, specs: Specs, outside: Outside, venue: Venue, options: NodeOptions) -> None:
    """Refuse to start, with a table, while something is not right."""
    expected = remembered(run, options.folder)
    setup = Setup(
        run=run,
        kind=options.kind,
        folder=options.folder,
        specs=lambda: specs,
        history_bars=lambda specs: history_bars(run, specs),
        outside=outside,
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
                out_line(f"warning: {row.check}: {row.found}: {row.advice}")
        if options.kind is VenueKind.LIVE and options.may_enter:
            seek_consent(client, venue.key, symbol_of(run.instruments[0]), ask=options.asks)


def _run(
    book: RosterBook,
    venue: Venue,
    parts: Parts,
    records: Records,
    specs: Specs,
    outside: Outside,
    cover: FirstCover,
    signals: Signals,
    options: NodeOptions,
) -> tuple[str, str]:
    """What was left behind, and which states the disk has refused."""
    run, assembly = book.run, parts.assembly
    control = Control(Inbox(options.folder / "commands"), assembly.bar_types)
    node = build_node(run, venue, options.folder, control)
    traders = list(assembly.strategies)
    conductor, actors = _actors(node, traders, venue, assembly, signals, options)
    watchers = records.components(
        traders, node.portfolio, specs, index=outside.columns.series, venue=options.kind.value
    )
    _people(node, assembly, watchers, actors)
    components: tuple[Any, ...] = (*assembly.components, *watchers, *actors, control)
    policy = carry_on(assembly, components)
    crew = Crew(run, assembly, traders, parts.feeds, specs, options.folder / GUARD_FILE, policy)
    crew.serve(control, watchers)
    out_line(f"trading {', '.join(run.instruments)} on {venue.http}, its folder is {options.folder}")
    signals.arm()
    with _workshop(venue, records, outside, options) as workshop:
        control.serve(Operations(book, crew, control, workshop, conductor, _facts(run, venue)))
        cover.look()  # an entry that was on its way when the node before was killed
        _run_until_stopped(node, venue, (*components, policy))
    return conductor.outcome, _unkept((assembly.guard, *traders))


def _unkept(keepers: Iterable[Guard | TradingStrategy]) -> str:
    """What was not kept: how it is now, and the first refusal; "" where the disk took everything."""
    told = []
    for keeper in keepers:
        trouble = keeper.unkept
        if trouble is not None and trouble.error:
            how = "is not kept" if trouble.is_on else "was not kept for a while"
            told.append(f"{keeper.component_name}: its state {how}: {trouble.error}")
    return "; ".join(told)


def _people(node: LiveNode, assembly: Assembly, watchers: Iterable[Any], actors: Iterable[Any]) -> None:
    """Add every component: who records before who acts, and who looks after the strategies after them."""
    assembly.guard.watch(node.portfolio)
    # not the audit actor: it keeps every record in memory, which only a backtest wants
    for actor in (*watchers, *(a for a in assembly.actors if a is not assembly.audit)):
        node.add_actor(actor)
    for strategy in assembly.strategies:
        node.add_strategy(strategy)
    for actor in actors:
        node.add_actor(actor)


def _run_until_stopped(node: LiveNode, venue: Venue, components: Iterable[Any]) -> None:
    try:
        with _short_pauses():
            node.run()
    except RuntimeError as error:
        raise_failures(components)
        raise RunFailedError(_told(error, venue)) from error
    raise_failures(components)


@contextmanager
def _short_pauses() -> Iterator[None]:
    """While orders wait: other threads give way sooner, and no search for garbage goes through what stays."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECS)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)


def _told(error: RuntimeError, venue: Venue) -> str:
    """Why the engine has ended, in words that say what to do."""
    if "waiting for engine connections" in str(error):
        return f"no connection to {venue.http} and its streams: see live.base_url_*, then start again"
    if "disconnect" in str(error):
        return f"{venue.http} did not answer at the end: look at what it holds"
    return f"the node failed: {error}"


def _actors(
    node: LiveNode,
    traders: list[TradingStrategy],
    venue: Venue,
    assembly: Assembly,
    signals: Signals,
    options: NodeOptions,
) -> tuple[Conductor, tuple[Any, ...]]:
    """What is added to a node beside the run's own components: the conductor, and all of them."""
    heartbeat = Heartbeat(options.folder)
    heartbeat.begin()
    sweeps = options.may_enter and not venue.is_paper and not venue.is_spot  # without --trade nothing is sent
    sweeper = Sweeper(lambda: traders, client_of(venue)) if sweeps else None
    conductor = Conductor(
        traders,
        signals,
        node.handle().stop,
        at_end=options.at_end.value,
        secs=options.secs,
        beat=heartbeat.beat,
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
def _workshop(venue: Venue, records: Records, outside: Outside, options: NodeOptions) -> Iterator[Workshop]:
    workshop = Workshop(
        venue,
        options.folder,
        MODELS_ROOT,
        records.keep,
        outside,
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
    out_line("paper: live market, orders filled by the engine's sandbox; unlike the venue:")
    for line in DIFFERENCES:
        out_line(f"- {line}")
