"""What every group of settings is made of: the frozen base and the validated scalars."""

import re
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "FolderPath",
    "Fraction",
    "Group",
    "InstrumentName",
    "NonNegative",
    "Percent",
    "Positive",
    "Seed",
    "Slug",
    "UtcTime",
]

_TIME_ADVICE = "write a UTC date or time such as 2024-01-31 or 2024-01-31T12:00"
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_INSTRUMENT = re.compile(r"[A-Z0-9]{2,20}(-PERP)?\.BINANCE")


class Group(BaseModel):
    """A frozen group of settings; unknown keys fail."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


def _slug(value: str) -> str:
    if not _SLUG.fullmatch(value):
        raise ValueError("use letters, digits, '-', '_' and '.' only, beginning with a letter or digit")
    return value


def _instrument(value: str) -> str:
    if not _INSTRUMENT.fullmatch(value):
        raise ValueError("write BTCUSDT-PERP.BINANCE for a perpetual or BTCUSDT.BINANCE for spot")
    return value


def _utc(value: Any) -> Any:
    """Dates are midnight UTC; a time without a zone is UTC (nothing here is ever local time)."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError(_TIME_ADVICE) from error
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time.min)
    if not isinstance(value, datetime):
        raise ValueError(_TIME_ADVICE)
    if not 1970 <= value.year <= 2200:
        raise ValueError("the year must lie between 1970 and 2200")
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _path(value: Path) -> Path:
    if value == Path() or "\0" in str(value):
        raise ValueError("name a folder")
    return value


Slug = Annotated[str, AfterValidator(_slug)]
InstrumentName = Annotated[str, AfterValidator(_instrument)]
UtcTime = Annotated[datetime, BeforeValidator(_utc)]
FolderPath = Annotated[Path, AfterValidator(_path)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Percent = Annotated[float, Field(gt=0, le=100)]
