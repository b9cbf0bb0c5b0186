"""Read and check a node's audit stream.

    python live/audit.py DIR [--since TIME] [--kind KIND]... [--instrument ID] [--all] [--json]

DIR is a node's folder or the `audit` folder in it. Without --kind and --all everything is shown but bars,
quotes, forecasts and metrics: what concerns money.
"""

import configs.interrupts  # noqa: F401  before the libraries that take seconds to load

# isort: split

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from configs.console import command_app, emit_json, out, run_app
from configs.errors import DataError
from live.record.audit_file import EARLY, audit_files

__all__ = ["AuditLine", "Checked", "Session", "check_lines", "read_audit"]

app = command_app("Read and check a node's audit stream.")

_MARKET = frozenset({"bar", "quote", "forecast", "metric"})
_HEAD = ("event", "role", "action", "what", "mode", "check", "text", "client_order_id")
_TAIL = frozenset({"event_id", "ts_event", "ts_init", "account_id", "position_id", "reconciliation"})


class AuditLine(msgspec.Struct, frozen=True):
    """One line; times in ns UTC: `wall` when it was handed over, `ts` the engine's or the venue's."""

    session: str
    seq: int
    wall: int
    ts: int = 0
    component: str = ""
    instrument: str = ""
    kind: str = ""
    detail: dict[str, Any] = {}


@dataclass(slots=True)
class Session:
    """One writer's lines: `lost` are numbers that are missing between its first and its last."""

    name: str
    first_wall: int
    last_wall: int
    lines: int = 0
    lost: int = 0
    is_ended: bool = False
    next_seq: int = 0


@dataclass(slots=True)
class Checked:
    """What a stream holds: `cut` lines end where a kill ended them, `unreadable` ones should not be."""

    sessions: list[Session] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    unreadable: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether no line is missing and each can be read, but for what kills have cut."""
        return not self.unreadable and not any(session.lost for session in self.sessions)


def read_audit(folder: Path) -> Iterator[tuple[str, AuditLine | None]]:
    """Every line in order with where it stands; None for one that is no record.

    DataError when the folder has no stream or a compressed file is damaged.
    """
    files = audit_files(folder) or audit_files(folder / "audit")
    if not files:
        raise DataError(f"{folder} has no audit stream: give a node's folder (--state), or its audit folder")
    decode = msgspec.json.Decoder(AuditLine).decode
    for path in files:
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                for number, text in enumerate(file, start=1):
                    if text.strip():
                        yield f"{path.name}:{number}", _decoded(decode, text)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path} is damaged ({error})") from error


def _decoded(decode: Any, text: bytes) -> AuditLine | None:
    try:
        line: AuditLine = decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return line


class _Checker:
    """Line by line. What a kill has cut off is followed by another session's line, or by nothing."""

    def __init__(self) -> None:
        self.found = Checked()
        self._doubtful = ""
        self._last = ""

    def see(self, where: str, line: AuditLine | None) -> None:
        if line is None:
            self._settle(cut=False)
            self._doubtful = where
            return
        self._settle(cut=line.session != self._last)
        self._last = line.session
        self.found.kinds[line.kind] += 1
        session = self._session(line)
        session.lines += 1
        session.lost += max(0, line.seq - session.next_seq)
        session.next_seq = line.seq + 1
        session.last_wall = line.wall
        is_last = line.kind == "node" and line.detail.get("what") == "recorder_stopped"
        session.is_ended |= is_last or line.session.endswith(EARLY)

    def end(self) -> Checked:
        self._settle(cut=True)
        return self.found

    def _settle(self, *, cut: bool) -> None:
        if self._doubtful:
            if cut:
                self.found.cut += 1
            else:
                self.found.unreadable.append(self._doubtful)
        self._doubtful = ""

    def _session(self, line: AuditLine) -> Session:
        sessions = self.found.sessions
        if not sessions or sessions[-1].name != line.session:
            # files of old sessions may have gone: their first line need not be their first
            begun = line.seq if not sessions else 0
            sessions.append(Session(line.session, line.wall, line.wall, next_seq=begun))
        return sessions[-1]


def check_lines(lines: Iterator[tuple[str, AuditLine | None]]) -> Checked:
    """What a whole stream holds: its sessions, numbers that are missing, lines that cannot be read."""
    checker = _Checker()
    for where, line in lines:
        checker.see(where, line)
    return checker.end()


@app.command()
def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A node's folder.")],
    since: Annotated[
        datetime | None, typer.Option(help="Show lines from this UTC time on.", formats=["%Y-%m-%dT%H:%M:%S"])
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Show this kind only; repeatable.")] = None,
    instrument: Annotated[str | None, typer.Option(help="Show one instrument only.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show bars, quotes and forecasts too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Print the stream and check it.

    Exit code 0: nothing is missing. Exit code 1: lines are missing or cannot be read. 2: no stream there.
    """
    since_ns = 0 if since is None else int(since.replace(tzinfo=UTC).timestamp()) * 10**9
    checker, shown = _Checker(), []
    for where, line in read_audit(folder):
        checker.see(where, line)
        if line is None or line.wall < since_ns or (instrument is not None and line.instrument != instrument):
            continue
        if everything or (line.kind in kind if kind else line.kind not in _MARKET):
            if as_json:
                shown.append(line)
            else:
                out.print(_text(line), markup=False, highlight=False)
    found = checker.end()
    if as_json:
        emit_json(
            {
                "is_whole": found.is_whole,
                "sessions": [asdict(session) for session in found.sessions],
                "kinds": dict(found.kinds),
                "cut": found.cut,
                "unreadable": found.unreadable,
                "lines": [msgspec.to_builtins(line) for line in shown],
            }
        )
    else:
        _summarise(found)
    return 0 if found.is_whole else 1


def _text(line: AuditLine) -> str:
    when = datetime.fromtimestamp(line.wall / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    keys = [*(key for key in _HEAD if key in line.detail)]
    keys += [key for key in line.detail if key not in _HEAD and key not in _TAIL]
    first = [str(line.detail[key]) for key in keys if key in _HEAD]
    rest = [f"{key}={_plain(line.detail[key])}" for key in keys if key not in _HEAD]
    symbol = line.instrument.partition(".")[0]
    return f"{when}  {line.kind:<9} {line.component:<12} {symbol:<13} {' '.join([*first, *rest])}"


def _plain(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _summarise(found: Checked) -> None:
    counts: Sequence[tuple[str, int]] = found.kinds.most_common()
    out.print(", ".join(f"{count} {kind}" for kind, count in counts), markup=False, highlight=False)
    for session in found.sessions:
        ended = "ended" if session.is_ended else "killed, or still running"
        lost = f", {session.lost} LOST" if session.lost else ""
        out.print(f"session {session.name}: {session.lines} lines{lost}, {ended}", highlight=False)
    if found.cut:
        out.print(f"{found.cut} lines cut off by a kill", highlight=False)
    for where in found.unreadable:
        out.print(f"UNREADABLE {where}", markup=False, highlight=False)


if __name__ == "__main__":
    run_app(app)
