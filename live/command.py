"""`python live/command.py DIR COMMAND ...`: an operator's word to the node that uses the state folder DIR.

    status                                          what it holds and does, --json for all of it
    pause  [--strategy LABEL] [--reason TEXT]       nothing is entered; what is open is looked after
    resume [--strategy LABEL]                       a pause or a halt is over
    reset                                           as resume; pauses by limits and cool-downs end
    halt   [--reason TEXT]                          the kill switch, with the action of the run file
    flatten [--strategy LABEL]                      close at the market, then as pause or halt
    stop   [--positions keep|flatten]               end the node
    add RUN.yaml                                    strategies of a run file that the node has not
    remove LABEL --positions close|keep             keep: it goes when its trade is over
    swap LABEL RUN.yaml --positions handover|close  another strategy on the same instrument
    model NAME BUNDLE|latest [--strategy LABEL]     other forecasts from the next bar on

Models that a new run file needs are found or trained here, before the node is asked. Exit 0: done; 1:
refused, failed or not answered in time; 2: bad input, or no node runs.
"""

import configs.interrupts  # noqa: F401  before the libraries that take seconds to load

# isort: split

import fcntl
import json
import os
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from configs.console import command_app, emit_json, out, run_app
from configs.errors import ConfigError, RunFailedError

__all__ = ["CommandName", "main", "send"]

_LOOK_SECS = 0.05
_QUICK_SECS, _LONG_SECS = 20.0, 300.0
_SECOND_NS = 1_000_000_000
MODELS_ROOT = Path("artifacts/models")


class CommandName(StrEnum):
    """What a node can be told."""

    STATUS = "status"
    PAUSE = "pause"
    RESUME = "resume"
    RESET = "reset"
    HALT = "halt"
    FLATTEN = "flatten"
    STOP = "stop"
    ADD = "add"
    REMOVE = "remove"
    SWAP = "swap"
    MODEL = "model"


_ARGUMENTS = {
    CommandName.ADD: ("RUN.yaml",),
    CommandName.REMOVE: ("LABEL",),
    CommandName.SWAP: ("LABEL", "RUN.yaml"),
    CommandName.MODEL: ("NAME", "BUNDLE"),
}
_LONG = (*_ARGUMENTS, CommandName.FLATTEN)

app = command_app("Tell a node that runs what to do; see the top of live/command.py for the commands.")


@app.command()
def main(
    state: Annotated[Path, typer.Argument(metavar="DIR", help="The node's state folder.")],
    name: Annotated[CommandName, typer.Argument(metavar="COMMAND", help="What it shall do.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[ARGUMENT]...")] = None,
    strategy: Annotated[str | None, typer.Option(metavar="LABEL", help="Of one strategy only.")] = None,
    positions: Annotated[
        str | None,
        typer.Option(metavar="HOW", help="remove: close, keep; swap: handover, close; stop: keep, flatten."),
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Kept with it.")] = "",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one value of RUN.yaml.")
    ] = None,
    wait: Annotated[float | None, typer.Option(metavar="SECS", min=1, help="For the answer.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as one object.")] = False,
) -> int:
    """Send one command and wait for what comes of it."""
    given = arguments or []
    wanted = _ARGUMENTS.get(name, ())
    if len(given) != len(wanted):
        raise ConfigError(f"{name}: give {' and '.join(wanted) or 'no further argument'}")
    _need_node(state)
    label, values = _values(name, given, strategy, overrides or [])
    if positions is not None:
        values["positions"] = positions
    values["reason"] = reason
    patience = wait or (_LONG_SECS if name in _LONG else _QUICK_SECS)
    answer = send(state, name.value, label, values, within_secs=patience)
    if name is CommandName.STOP and answer["done"]:
        _until(lambda: not is_running(state), patience, "the node has not ended yet: look at its output")
        answer["text"] = "stopped"
    _show(answer, as_json=as_json)
    return 0 if answer["done"] else 1


def _values(
    name: CommandName, given: list[str], strategy: str | None, overrides: list[str]
) -> tuple[str | None, dict[str, str]]:
    """The strategy that the command is about, and its values."""
    if name in (CommandName.REMOVE, CommandName.SWAP):
        if strategy not in (None, given[0]):
            raise ConfigError(f"{name}: either {given[0]} or --strategy {strategy}")
        strategy = given[0]
    if name is CommandName.MODEL:
        bundle = given[1] if given[1] == "latest" else str(Path(given[1]).absolute())
        return strategy, {"model": given[0], "bundle": bundle}
    if name in (CommandName.ADD, CommandName.SWAP):
        return strategy, _run_values(Path(given[-1]), overrides)
    return strategy, {}


def _run_values(path: Path, overrides: list[str]) -> dict[str, str]:
    """The run file resolved, and the bundles of its models: a node that runs trains none."""
    from configs.load import load_run  # noqa: PLC0415  most commands need none of the heavy libraries
    from live.prepare import load_specs  # noqa: PLC0415
    from strategies.assembly import check_strategies  # noqa: PLC0415

    run = load_run(path, overrides)
    check_strategies(run)
    specs = load_specs(run, MODELS_ROOT)
    return {"run": json.dumps(run.model_dump(mode="json")), "bundles": json.dumps(_folders(run, specs))}


def _folders(run: Any, specs: Any) -> dict[str, dict[str, str]]:
    found = {}
    for strategy in run.strategies:
        if strategy.instrument in specs:
            named = zip(strategy.all_models, specs[strategy.instrument].predictors, strict=True)
            found[strategy.label] = {name: str(predictor.folder.absolute()) for name, predictor in named}
    return found


def send(
    state: Path, name: str, strategy: str | None, values: dict[str, str], *, within_secs: float
) -> dict[str, Any]:
    """Write the request and wait for the answer: `done`, `text`, `detail`.

    What the node has not taken in time is taken back. RunFailedError when there is no answer in time, or when
    the node ends before it answers.
    """
    inbox = state / "commands"
    request_id = f"{time.time_ns():020d}-{os.getpid()}"
    path = inbox / f"{request_id}.json"
    request = {"id": request_id, "name": name, "strategy": strategy, "values": values}
    inbox.mkdir(parents=True, exist_ok=True)
    fresh = inbox / f".{request_id}.tmp"
    fresh.write_bytes(msgspec.json.encode(request))
    fresh.replace(path)
    answered = inbox / "done" / f"{request_id}.answer.json"
    deadline = time.monotonic() + within_secs
    while not answered.exists():
        if not is_running(state) and not answered.exists():
            raise RunFailedError(f"the node ended, and {_fate(path, name)}")
        if time.monotonic() > deadline:
            raise RunFailedError(f"no answer within {within_secs:g} s: {_fate(path, name)}")
        time.sleep(_LOOK_SECS)
    answer: dict[str, Any] = msgspec.json.decode(answered.read_bytes())
    return answer


def _fate(path: Path, name: str) -> str:
    """What has become of a request without an answer."""
    try:
        path.unlink()
    except FileNotFoundError:
        return f"it had taken '{name}': look at its status before asking again"
    return f"'{name}' was taken back, nothing was done (a node that still starts answers once it trades)"


def is_running(state: Path) -> bool:
    """Whether a node holds the folder's lock."""
    try:
        with (state / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _need_node(state: Path) -> None:
    if not state.is_dir():
        raise ConfigError(
            f"{state}: no such folder; give a node's state folder (--state DIR of live/node.py)"
        )
    if not is_running(state):
        raise ConfigError(f"no node runs on {state}: commands are not kept for later")


def _until(holds: Callable[[], bool], within_secs: float, why: str) -> None:
    deadline = time.monotonic() + within_secs
    while not holds():
        if time.monotonic() > deadline:
            raise RunFailedError(why)
        time.sleep(_LOOK_SECS)


def _show(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit_json(answer)
        return
    prefix = "" if answer["done"] else "refused: "
    out.print(f"{prefix}{answer['text']}", markup=False, highlight=False)
    for line in _lines(answer["detail"]):
        out.print(line, markup=False, highlight=False)


def _lines(detail: dict[str, Any]) -> list[str]:
    """What `status` says, for reading."""
    if not detail:
        return []
    reasons = [*detail["reasons"], *(f"{name}: {why}" for name, why in detail["blocked"].items())]
    lines = [
        f"{detail['run']} on {detail['venue']} ({detail['address']}), up {detail['uptime_secs']:.0f} s",
        f"mode {detail['mode']}, multiplier {detail['multiplier']}"
        + (f": {', '.join(reasons)}" if reasons else ""),
    ]
    if detail["busy_with"]:
        lines.append(f"busy with {detail['busy_with']}")
    lines += [_member_line(member) for member in detail["strategies"]]
    lines += [
        f"alarm: {_seen(alarm['ts'])} {alarm['component']}: {alarm['text']}" for alarm in detail["alarms"]
    ]
    return lines


def _member_line(member: dict[str, Any]) -> str:
    age = member["bar_age_secs"]
    held = f"{member['quantity']:g}"
    if member["quantity"]:
        stop = (
            "NO STOP"
            if not member["is_covered"]
            else f"stop {member['stop']:g}"
            if member["stop"]
            else "covered"
        )
        held += f" at {member['entry_price']:g}, {stop}"
    told = [f"{member['label']} ({member['use']}) {member['instrument']}: {held}"]
    if member["entry_under_way"]:
        told.append("an entry is under way")
    if member["paused"]:
        told.append(f"enters nothing ({member['paused']})")
    if member["leaves_when_flat"]:
        told.append("leaves when flat")
    told.append("no bar yet" if age is None else f"last bar {age:.1f} s ago")
    return ", ".join(told)


def _seen(ts_ns: int) -> str:
    return time.strftime("%H:%M:%SZ", time.gmtime(ts_ns // _SECOND_NS))


if __name__ == "__main__":
    run_app(app)
