"""Exit codes, one-line errors and machine-readable output of every command."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import numpy as np
import pytest
import typer

from configs import console
from configs.console import command_app, emit_json, run_app, status
from configs.errors import ConfigError, DataError, InputError, ModelError, RunFailedError, SextantError


def _code(body: Callable[[], object], args: list[str] | None = None) -> int:
    app = command_app("A command.")

    @app.command()
    def main(count: Annotated[int, typer.Option()] = 1) -> object:
        return body()

    with pytest.raises(SystemExit) as caught:
        run_app(app, args or [])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def _raise(error: BaseException) -> Callable[[], NoReturn]:
    def body() -> NoReturn:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("x.yaml: wrong"), 2, "error: x.yaml: wrong"),
        (DataError("a gap"), 2, "error: a gap"),
        (ModelError("altered"), 2, "error: altered"),
        (RunFailedError("on_bar raised"), 1, "error: on_bar raised"),
        (ConfigError("two\nlines   [red]here[/red]"), 2, "error: two lines [red]here[/red]"),
        (
            FileNotFoundError(2, "No such file or directory", "a.csv"),
            1,
            "error: No such file or directory: a.csv",
        ),
        (OSError("odd"), 1, "error: odd"),
        (KeyboardInterrupt(), 130, "error: interrupted; nothing half-written is kept"),
        (typer.Abort(), 130, "error: interrupted; nothing half-written is kept"),
        (typer.BadParameter("no such symbol"), 2, "error: Invalid value: no such symbol (see --help)"),
    ],
)
def test_a_raised_error_is_one_line_on_stderr_with_its_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    assert _code(_raise(error)) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{line}\n")


def test_a_long_error_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert _code(_raise(ConfigError("word " * 100))) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [(lambda: None, 0), (lambda: 0, 0), (lambda: 3, 3), (lambda: "text", 0), (_raise(typer.Exit(4)), 4)],
)
def test_the_value_returned_is_the_exit_code_when_it_is_one(body: Callable[[], object], code: int) -> None:
    assert _code(body) == code


@pytest.mark.parametrize("args", [["--nope"], ["extra"], ["--count", "abc"], ["--count"]])
def test_wrong_usage_exits_2_with_one_line(capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    assert _code(lambda: None, args) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1


def test_a_mistake_of_ours_is_not_hidden() -> None:
    app = command_app("A command.")
    app.command()(_raise(ZeroDivisionError("bug")))
    with pytest.raises(ZeroDivisionError):
        run_app(app, [])


def test_input_errors_exit_2_and_failed_runs_1() -> None:
    assert {e.exit_code for e in (InputError, ConfigError, DataError, ModelError)} == {2}
    assert {e.exit_code for e in (SextantError, RunFailedError)} == {1}


SCRIPT = """\
from pathlib import Path
from typing import Annotated
import typer
from configs.console import command_app, emit_json, run_app
from configs.load import load_run
app = command_app("Shows a run.")

@app.command()
def main(run: Path, set_: Annotated[list[str] | None, typer.Option("--set")] = None) -> None:
    emit_json({"name": load_run(run, set_ or ()).name})

if __name__ == "__main__":
    run_app(app)
"""


def _script(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    (folder / "show.py").write_text(SCRIPT)
    command = [sys.executable, str(folder / "show.py"), *args]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=220, stdin=subprocess.DEVNULL
    )


def test_a_command_run_as_a_script_exits_0_and_2_without_a_traceback(tmp_path: Path) -> None:
    demo = str(Path(__file__).resolve().parents[2] / "configs" / "runs" / "demo.yaml")
    good = _script(tmp_path, demo, "--set", "name=mine")
    assert (good.returncode, json.loads(good.stdout), good.stderr) == (0, {"name": "mine"}, "")
    bad = _script(tmp_path, demo, "--set", "nam=mine")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == "error: --set: unknown key nam; did you mean name?\n"


def test_json_is_plain_for_numpy_paths_and_times_and_refuses_nan(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"n": np.int64(3), "x": np.float32(0.5), "b": np.bool_(True), "p": Path("a/b")})
    assert json.loads(capsys.readouterr().out) == {"n": 3, "x": 0.5, "b": True, "p": "a/b"}
    with pytest.raises(ValueError, match="JSON compliant"):
        emit_json({"x": float("nan")})
    assert capsys.readouterr().out == ""


def test_status_is_a_plain_line_without_a_terminal_and_nothing_when_quiet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with status("training [1/2]"):
        pass
    with status("hidden", quiet=True):
        pass
    out, err = capsys.readouterr()
    assert (out, err) == ("", "training [1/2]\n")


def test_status_lets_an_error_through() -> None:
    with pytest.raises(DataError, match="gone"), status("reading"):
        raise DataError("gone")


def test_the_module_offers_two_consoles_apart() -> None:
    assert console.err.stderr
    assert not console.out.stderr


@pytest.mark.parametrize("stream", ["out", "err"])
def test_a_line_without_a_stream_is_no_failure(stream: str) -> None:
    code = (
        f"import sys; sys.std{stream} = None\nfrom configs.console import {stream}_line\n{stream}_line('x')"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=200).returncode == 0


def test_a_line_that_nobody_reads_is_not_waited_for() -> None:
    code = "from configs.console import err_line\nfor _ in range(5_000): err_line('x' * 2_000)\nprint('done')"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.wait(200) == 0  # the pipe is full after 65 of them
        finally:
            process.kill()


@pytest.mark.parametrize("stream", ["out", "err"])
def test_a_line_whose_reader_is_gone_is_no_failure(stream: str) -> None:
    code = f"import os, sys; sys.stdin.read()\nfrom configs.console import {stream}_line\n{stream}_line('x')"
    with subprocess.Popen(
        [sys.executable, "-c", code + "\nos._exit(7)"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
        process.stdin.close()
        assert process.wait(200) == 7
