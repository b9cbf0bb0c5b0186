"""What must be right before a node may start: one row a check, with what was found and how to mend it.

    python live/preflight.py RUN.yaml --venue rehearsal|paper|testnet|live [--adopt] [--apply] [--json]

`preflight` is what the node calls. A check that cannot be made counts as failed. Nothing is changed at the
venue unless --apply is given, which sets leverage and margin type.
"""

import configs.interrupts  # noqa: F401  before the libraries that take seconds to load

# isort: split

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from actors.forecaster import ForecastSpec
from configs.console import command_app, emit_json, run_app
from configs.errors import SextantError
from configs.load import load_run
from live.checks.account import (
    check_clock,
    check_keys,
    check_leverage,
    check_margin_type,
    check_open,
    check_permissions,
    check_position_mode,
)
from live.checks.local import check_disk, check_forgotten, check_lock, check_models, check_state
from live.checks.market import check_balance, check_sizes, check_symbols
from live.checks.report import Context, Report, Row, Setup, failed
from live.checks.sentiment import check_sentiment
from live.checks.spot import SPOT_CHECKS
from live.checks.warm_up import check_warm_up
from live.outside import Outside, no_columns
from live.prepare import history_bars, load_specs, remembered
from live.venue.client import VenueClient
from live.venue.errors import VenueRequestError
from live.venue.spot_client import SpotClient, client_of
from live.venues import VenueKind, find_venue
from strategies.assembly import check_strategies

__all__ = ["CHECKS", "Report", "Row", "Setup", "main", "preflight"]

Check = Callable[[Context], Row]
CHECKS: dict[str, Check] = {
    "clock": check_clock,
    "keys": check_keys,
    "permissions": check_permissions,
    "position mode": check_position_mode,
    "margin type": check_margin_type,
    "leverage": check_leverage,
    "symbols": check_symbols,
    "sizes": check_sizes,
    "balance": check_balance,
    "open": check_open,
    "models": check_models,
    "warm-up": check_warm_up,
    "sentiment": check_sentiment,
    "disk": check_disk,
    "state": check_state,
    "lock": check_lock,
}
_FIRST_PAUSE_SECS, _LONGEST_PAUSE_SECS = 0.25, 4.0
_NEEDS_KEYS = ("keys", "permissions", "position mode", "margin type", "leverage")
_MEND = {
    "network": "check the network and the address (live.base_url_http), and try again",
    "venue": "the venue cannot answer now: wait and try again",
    "account": "mend the keys and the account's permissions first",
    "logic": "the venue does not take the request: is it Binance's USD-M interface?",
}

app = command_app("Check everything that must be right before a node starts.")


def preflight(setup: Setup, client: VenueClient) -> Report:
    """Make every check, whatever the others find; nothing is raised for what is wrong.

    For paper those that need no account: it has none.
    """
    context, checks = Context(setup, client), dict(CHECKS)
    if isinstance(client, SpotClient):
        checks = SPOT_CHECKS
    if context.is_paper:
        checks = {name: check for name, check in CHECKS.items() if name not in _NEEDS_KEYS}
        checks["open"] = check_forgotten
    end = time.monotonic() + setup.patience_secs
    return Report(tuple(_made(name, check, context, end) for name, check in checks.items()))


def _made(name: str, check: Check, context: Context, end: float) -> Row:
    """A check's row; until `end` (of the monotonic clock) it is made again on errors that may pass."""
    pause = _FIRST_PAUSE_SECS
    try:
        while True:
            try:
                return check(context)
            except VenueRequestError as error:
                wait = max(pause, error.retry_after_secs)
                if not error.may_pass or time.monotonic() + wait > end:
                    return failed(name, f"not checked: {error}", _MEND[error.kind])
                time.sleep(wait)
                pause = min(2 * pause, _LONGEST_PAUSE_SECS)
    except SextantError as error:
        return failed(name, str(error), "mend what is named there, and try again")
    except OSError as error:
        return failed(name, f"not checked: {error.strerror or error}", "see the file's folder and its rights")


@app.command()
def main(
    run_file: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="The run file of the node.")],
    venue: Annotated[VenueKind, typer.Option(help="Where the node will trade.")] = VenueKind.REHEARSAL,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Overrides.")] = None,
    state: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The node's folder. Default: runs/live/<name>-<venue>")
    ] = None,
    models: Annotated[Path, typer.Option(help="Where model bundles are.")] = Path("artifacts/models"),
    adopt: Annotated[bool, typer.Option("--adopt", help="Accept unknown positions and orders.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Set leverage and margin type.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one object.")] = False,
) -> int:
    """Check, print the table; 0 when a node may start, 2 when not."""
    run = load_run(run_file, set_ or [])
    check_strategies(run)
    where, outside = find_venue(run, venue), Outside(no_columns(run))

    def specs() -> dict[str, ForecastSpec]:
        found = load_specs(run, models, columns=outside.columns)
        outside.begin(run, found)
        return found

    folder = state or Path("runs", "live", f"{run.name}-{venue.value}")
    setup = Setup(
        run=run,
        kind=venue,
        folder=folder,
        specs=specs,
        history_bars=lambda found: history_bars(run, found),
        outside=outside,
        adopt=adopt,
        apply=apply,
        expected=remembered(run, folder),
    )
    with client_of(where) as client:
        report = preflight(setup, client)
    if as_json:
        emit_json(report.to_json())
    else:
        report.print(sys.stdout)
    return 0 if report.may_start else 2


if __name__ == "__main__":
    run_app(app)
