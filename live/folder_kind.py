"""Which kind of venue a state folder is of: what it remembers of a trade, a day's equity or a halt is another
account's on any other, and its stop levels are another market's."""

from pathlib import Path

from configs.errors import ConfigError, DataError
from live.venues import VenueKind

__all__ = ["check_kind", "note_kind"]

_FILE = "venue"


def check_kind(folder: Path, kind: VenueKind) -> None:
    """ConfigError for a folder of another kind, before anything in it is believed."""
    known = _known(folder)
    if known not in ("", kind.value):
        raise ConfigError(
            f"{folder} is of a node on {known}, not {kind.value}: give each venue its own --state DIR"
        )


def note_kind(folder: Path, kind: VenueKind) -> None:
    """From now on the folder is of this kind; nothing is written where it is known to be."""
    if _known(folder) != kind.value:
        (folder / _FILE).write_text(f"{kind.value}\n", encoding="ascii")


def _known(folder: Path) -> str:
    """The kind that was noted; "" where none was, or where a kill has cut it off."""
    path = folder / _FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error})") from error
    return text.strip() if text.endswith("\n") else ""
