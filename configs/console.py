"""How every command talks: one place for exit codes, one-line errors and progress."""

import json
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

import typer
from rich.console import Console
from typer.exceptions import TyperException

from configs.errors import SextantError

__all__ = ["command_app", "emit_json", "err", "err_line", "out", "out_line", "run_app", "status"]

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)
_INTERRUPTED = 130
_BEHIND_SECS = 1.0
_LONGEST_LINE = 1_000  # characters: a pipe with room takes as much without waiting


def command_app(help_text: str) -> typer.Typer:
    """A typer application whose errors are plain lines instead of boxes and tracebacks."""
    return typer.Typer(
        help=help_text, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )


def run_app(app: typer.Typer, args: list[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 the work failed, 2 bad input (one line), 130 interrupted."""
    sys.exit(_exit_code(app, args))


def _exit_code(app: typer.Typer, args: list[str] | None) -> int:
    try:
        result = typer.main.get_command(app)(args=args, standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        result = _INTERRUPTED
    except TyperException as error:
        return _fail(f"{error.format_message()} (see --help)", 2)
    except SextantError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}", 1)
    if result == _INTERRUPTED:  # typer turns Ctrl-C into this code without a word
        return _fail("interrupted; nothing half-written is kept", _INTERRUPTED)
    return result if isinstance(result, int) else 0


def _fail(message: str, code: int) -> int:
    err.print(f"error: {' '.join(message.split())}", style="red", markup=False, highlight=False)
    return code


def err_line(text: str, *, style: str | None = None) -> None:
    """One line on stderr, or none, for who has more important work to do.

    A reader that is gone is no reason to fail, one that does not read (a stopped terminal, a full pipe) is
    none to wait for. rich itself would end the process for the first, by SystemExit.
    """
    _line(err, text, style, 0.0)


def out_line(text: str) -> None:
    """One line on stdout, as `err_line`; a reader that is behind is waited for, but not for long."""
    _line(out, text, None, _BEHIND_SECS)


def _line(console: Console, text: str, style: str | None, wait_secs: float) -> None:
    with console.capture() as line:
        console.print(" ".join(text.split())[:_LONGEST_LINE], style=style, markup=False, highlight=False)
    with suppress(OSError):
        if _takes_a_line(console.file, wait_secs):
            console.file.write(line.get())
            console.file.flush()


def _takes_a_line(file: IO[str], wait_secs: float) -> bool:
    try:
        number = file.fileno()
    except OSError:  # no file of the system's: nobody can keep it waiting
        return True
    # rich has a file of its own, with the number -1, where the process was started without one
    return number < 0 or bool(select.select([], [number], [], wait_secs)[1])


def emit_json(payload: Any) -> None:
    """Print one machine-readable object on stdout (for --json); numpy scalars become numbers."""
    sys.stdout.write(json.dumps(payload, indent=2, default=_plain, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    """A numpy scalar as its number, anything else as text."""
    return value.item() if hasattr(value, "item") else str(value)


@contextmanager
def status(message: str, *, quiet: bool = False) -> Iterator[None]:
    """Show that long work goes on: a spinner on a terminal, one plain line otherwise."""
    if quiet:
        yield
    elif err.is_terminal:
        with err.status(message):
            yield
    else:
        err_line(message)
        yield
