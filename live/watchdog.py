"""An independent process that looks at the venue, not at the node: every position must have a stop.

On spot, where the venue knows no positions, what the node has bought must have one; which coins of a balance
those are say its book beside the heartbeat and the account's own list of trades.

    python live/watchdog.py RUN.yaml --venue rehearsal|testnet|live
    python live/watchdog.py RUN.yaml --protect --heartbeat runs/live/heartbeat --flatten-after 60

It uses a REST client of its own (live.venue.client) and none of the node's code. By itself it only raises
alarms: a line on stderr, the status file, the webhook. `--protect` lets it place a stop for a position that
has none, `--flatten-after` lets it cancel and close everything of the run when the node's heartbeat is older.
It ends on SIGTERM or SIGINT with 0, or 1 when an alarm was up then, and goes on when its terminal is closed;
`--once` looks once, and 1 is an alarm.
"""

import configs.interrupts  # noqa: F401  before the libraries that take seconds to load

# isort: split

import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from catalog.instruments import symbol_of
from configs.console import command_app, emit_json, run_app
from configs.errors import ConfigError
from configs.load import load_run
from live.venue.client import ClientLimits, VenueClient
from live.venue.spot_client import SpotClient
from live.venues import Venue, VenueKind, find_venue
from live.watching.coins import CoinWatchdog
from live.watching.looking import WatchSettings
from live.watching.report import Reporter, status_of
from live.watching.watch import Watchdog

__all__ = ["SPOT_WATCH_LIMITS", "WATCH_LIMITS", "main", "watch", "watchdog_of"]

# Nothing is repeated within a look: the next is soon, and a venue that hangs must not keep it waiting.
WATCH_LIMITS = ClientLimits(connect_secs=1.0, read_secs=2.0, request_secs=3.0, tries=1, read_weight=2_300)
SPOT_WATCH_LIMITS = replace(WATCH_LIMITS, read_weight=5_000)  # of 6,000; a look weighs 30 and more

app = command_app("Watch that every position at the venue has a stop; alarm, and where allowed protect it.")


def watchdog_of(venue: Venue, settings: WatchSettings) -> Watchdog | CoinWatchdog:
    """Who looks at positions, or on spot at coins, with a client of its own."""
    if venue.is_spot:
        return CoinWatchdog(SpotClient.of(venue, SPOT_WATCH_LIMITS), settings)
    return Watchdog(VenueClient.of(venue, WATCH_LIMITS), settings)


def watch(
    watchdog: Watchdog | CoinWatchdog, reporter: Reporter, stop: threading.Event, interval_secs: float
) -> int:
    """Look every `interval_secs` until `stop` is set; 1 when an alarm is up then, else 0."""
    while True:
        look = watchdog.look()
        reporter.tell(look, watchdog.unprotected_secs)
        if stop.wait(interval_secs):
            return int(bool(reporter.active))


@app.command()
def main(
    run_file: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The run file of the node.")],
    venue: Annotated[VenueKind, typer.Option(help="Where the node trades.")] = VenueKind.REHEARSAL,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Overrides.")] = None,
    interval: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds between looks.")] = 2.0,
    grace: Annotated[
        float, typer.Option(min=0, max=600, help="Seconds that a position may be without a stop.")
    ] = 5.0,
    protect: Annotated[bool, typer.Option("--protect", help="Place a stop where there is none.")] = False,
    stop_distance: Annotated[
        float, typer.Option(min=0.1, max=50, help="Distance of that stop from the mark price, in per cent.")
    ] = 3.0,
    heartbeat: Annotated[Path | None, typer.Option(help="The file that the node keeps fresh.")] = None,
    flatten_after: Annotated[
        float | None, typer.Option(min=5, help="Close everything when the heartbeat is older, in seconds.")
    ] = None,
    status_file: Annotated[Path | None, typer.Option(help="Where the latest look is written (JSON).")] = None,
    webhook: Annotated[str | None, typer.Option(help="A URL that is sent every line as JSON.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once and end: 0 fine, 1 an alarm.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print the look.")] = False,
) -> int:
    """Watch the venue until SIGTERM or SIGINT."""
    run = load_run(run_file, set_ or [])
    if venue is VenueKind.PAPER:
        raise ConfigError("paper has no positions at a venue: there is nothing to watch")
    if heartbeat is not None and (once or flatten_after is not None) and not heartbeat.exists():
        raise ConfigError(f"{heartbeat}: no such file; start the node first, or give its folder's heartbeat")
    settings = WatchSettings(
        symbols=frozenset(symbol_of(name) for name in run.instruments),
        protect=protect,
        stop_distance_pct=stop_distance,
        heartbeat=heartbeat,
        flatten_after_secs=flatten_after,
        grace_secs=0.0 if once else grace,
        looks_once=once,
    )
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # whoever went home wants it more than ever
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # from a thread: set() inside the handler could wait for a lock that the interrupted wait() holds
        signal.signal(number, lambda *_: threading.Thread(target=stop.set, daemon=True).start())
    watchdog = watchdog_of(find_venue(run, venue), settings)
    with (
        watchdog.client,
        Reporter(status_file=status_file, webhook=webhook) as reporter,
    ):
        if not once:
            return watch(watchdog, reporter, stop, interval)
        look = watchdog.look()
        reporter.tell(look, watchdog.unprotected_secs)
        if as_json:
            emit_json(status_of(look, watchdog.unprotected_secs))
        return int(bool(look.alarms))


if __name__ == "__main__":
    run_app(app)
