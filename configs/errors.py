"""Every error Sextant raises on purpose.

    SextantError
    ├── InputError          the user can mend it; commands print its one line and exit 2
    │   ├── ConfigError     a run file, an option or an environment value
    │   ├── DataError       market data: a bad row, a gap, an overlap, a period that is not there
    │   └── ModelError      a model bundle that is refused
    └── RunFailedError      the work itself failed; commands print its line and exit 1

A message says what was wrong, where, and what to do about it, in one line.
"""

__all__ = ["ConfigError", "DataError", "InputError", "ModelError", "RunFailedError", "SextantError"]


class SextantError(Exception):
    """Root of all errors raised on purpose."""

    exit_code = 1


class InputError(SextantError):
    """Something the user gave cannot be used."""

    exit_code = 2


class ConfigError(InputError):
    """A run file, an override or a secret is missing or wrong."""


class DataError(InputError):
    """Market data is missing, malformed or contradicts what is stored."""


class ModelError(InputError):
    """A model bundle is missing, altered or does not fit the run."""


class RunFailedError(SextantError):
    """A component failed while the work ran."""
