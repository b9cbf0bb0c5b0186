"""Import first in a command: Ctrl-C while the libraries still load is one line, too, not a traceback.

`configs.console` takes over once the command runs. The interpreter ends such a process by the signal itself,
which a shell shows as 130.
"""

import sys
from types import TracebackType

__all__: list[str] = []

_former = sys.excepthook


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("error: interrupted before anything began\n")
    else:
        _former(kind, error, trace)


sys.excepthook = _one_line
