"""The report's small pieces of HTML: escaped text, formatted numbers, tables, tiles and embedded figures.

Whatever comes from a bundle passes `text` (or `table`, which does it): no name or reason can become markup.
"""

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

__all__ = [
    "Cell",
    "Column",
    "Tile",
    "count",
    "embed_json",
    "in_percent",
    "money",
    "note",
    "number",
    "pair",
    "percent",
    "plot",
    "quantity",
    "section",
    "table",
    "text",
    "tiles",
    "tone",
    "utc",
]

MISSING = "n/a"
MINUS = "\u2212"


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column; numbers are set to the right and sort by value."""

    title: str
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell with a class of its own (`gain`, `loss`, `strong`)."""

    value: str
    css: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """One key figure: a label, its value, a line below it, and `gain`, `loss` or nothing as its tone."""

    label: str
    value: str
    detail: str = ""
    tone: str = ""


def text(value: object) -> str:
    """Any value as escaped text, safe inside elements and quoted attributes."""
    return html.escape(str(value), quote=True)


def number(value: Any, decimals: int = 2, *, sign: bool = False) -> str:
    """A number with thousands separators; "n/a" for None, NaN, infinity or anything that is no number."""
    known = _finite(value)
    if known is None:
        return MISSING
    shown = f"{known:{'+' if sign else ''},.{decimals}f}"
    if not shown.strip("+-0.,"):  # never a signed zero
        shown = shown.lstrip("+-")
    return shown.replace("-", MINUS)


def count(value: Any) -> str:
    """A whole number with thousands separators."""
    return number(value, 0)


def money(value: Any, currency: str, *, sign: bool = False) -> str:
    """An amount with its currency."""
    shown = number(value, 2, sign=sign)
    return shown if shown == MISSING else f"{shown} {currency}".rstrip()


def percent(value: Any, decimals: int = 2, *, sign: bool = False) -> str:
    """A value that is already in per cent."""
    shown = number(value, decimals, sign=sign)
    return shown if shown == MISSING else f"{shown} %"


def quantity(value: Any) -> str:
    """A quantity with up to eight decimals, none of them idle."""
    shown = number(value, 8)
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def in_percent(share: Any) -> float | None:
    """A share of 1 in per cent; None stays None."""
    return None if share is None else 100.0 * float(share)


def utc(value: Any) -> str:
    """A time as 2024-01-31 12:00 UTC (seconds only where they are not zero); "n/a" for a missing one."""
    if value is None or pd.isna(value):
        return MISSING
    moment = pd.Timestamp(value)
    moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment.second else f"{moment:%Y-%m-%d %H:%M}"


def tone(value: Any) -> str:
    """`gain` above zero, `loss` below, nothing otherwise."""
    known = _finite(value)
    if not known:
        return ""
    return "gain" if known > 0 else "loss"


def table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[str | Cell]],
    *,
    caption: str = "",
    sortable: bool = False,
) -> str:
    """A table, its cells escaped, in a box that scrolls where it is too large."""
    heads = "".join(
        f'<th scope="col"{_class("n" if c.numeric else "")}>{text(c.title)}</th>' for c in columns
    )
    body = "".join(_row(columns, row) for row in rows)
    box, kind = ("scroll tall", ' class="sortable"') if sortable else ("scroll", "")
    return (
        f'<div class="{box}"><table{kind}><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>\n"
    )


def tiles(items: Iterable[Tile]) -> str:
    """Key figures side by side."""
    parts = [
        f"<div{_class(f'tile {item.tone}'.strip())}><dt>{text(item.label)}</dt><dd>{text(item.value)}</dd>"
        f"<dd>{text(item.detail)}</dd></div>"
        for item in items
    ]
    return f'<dl class="tiles">{"".join(parts)}</dl>\n'


def note(message: str) -> str:
    """A quiet line of explanation (escaped)."""
    return f'<p class="note">{text(message)}</p>\n'


def pair(left: str, right: str) -> str:
    """Two pieces of HTML side by side where there is room for them."""
    return f'<div class="pairs"><article>{left}</article><article>{right}</article></div>\n'


def section(anchor: str, title: str, body: str) -> str:
    """One part of the page with its heading; `body` is HTML."""
    return f'<section id="{text(anchor)}"><h2>{text(title)}</h2>\n{body}</section>\n'


def plot(anchor: str, figure: go.Figure, label: str) -> str:
    """A figure as data that the page's script draws into the element `anchor` (fixed, so bytes repeat)."""
    spec = json.loads(figure.to_json())
    spec["layout"].pop("template", None)
    height = int(spec["layout"].pop("height", 400))
    return (
        f'<div class="plot" id="{text(anchor)}" role="img" aria-label="{text(label)}" '
        f'style="height:{height}px"></div>'
        f'<script type="application/json" data-for="{text(anchor)}">{embed_json(spec)}</script>\n'
    )


def embed_json(value: Mapping[str, Any]) -> str:
    """Compact JSON that can stand inside a script element whatever its strings contain."""
    dumped = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return dumped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: Any) -> float | None:
    if isinstance(value, bool | str) or value is None:
        return None
    known = float(value)
    return known if math.isfinite(known) else None


def _class(name: str) -> str:
    return f' class="{text(name)}"' if name else ""


def _row(columns: Sequence[Column], row: Sequence[str | Cell]) -> str:
    parts = []
    for column, item in zip(columns, row, strict=True):
        cell = item if isinstance(item, Cell) else Cell(item)
        css = " ".join(filter(None, ("n" if column.numeric else "", cell.css)))
        parts.append(f"<td{_class(css)}>{text(cell.value)}</td>")
    return f"<tr>{''.join(parts)}</tr>\n"
