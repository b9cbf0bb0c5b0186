import signal
import subprocess
import sys

import pytest

_IMPORT_THEN = "import configs.interrupts\nraise {}"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        ("KeyboardInterrupt", -signal.SIGINT, "error: interrupted before anything began\n"),
        ("ValueError('x')", 1, "ValueError: x\n"),
    ],
)
def test_ctrl_c_while_libraries_load_is_one_line(error: str, code: int, text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT_THEN.format(error)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.endswith(text)) == (code, True)
    assert ("Traceback" in done.stderr) == (error != "KeyboardInterrupt")
