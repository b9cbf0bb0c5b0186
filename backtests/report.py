"""A run's result bundle as one HTML page that needs nothing but a browser: no network, no server, no fonts.

The page is made from the bundle's files alone (and the bars for the candles), so that the same bundle always
gives the same bytes.
"""

import os
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

from plotly.offline import get_plotlyjs

from backtests import charts
from backtests import report_sections as sections
from backtests.report_html import embed_json, text
from backtests.report_model import model_section
from backtests.report_trades import costs_section, decisions_section, trades_section
from backtests.tables import ResultBundle, read_bundle
from catalog.columns import utc_ns
from catalog.store import BarColumns, Catalog
from configs.errors import InputError
from configs.load import PROJECT_ROOT, load_run

__all__ = ["load_bars", "render_report", "write_report"]

REPORT_NAME = "report.html"


def write_report(bundle: Path, bars: Mapping[str, BarColumns] | None = None) -> Path:
    """Write `report.html` into a result bundle and return its path; an older one is replaced atomically.

    Args:
        bundle: the bundle's folder.
        bars: bars of the backtest's period by instrument id; None reads them from the catalog that the
            bundle's configuration names. When they are not there, the page says so in place of the candles.

    Raises:
        DataError: the folder is no result bundle or one of its files is missing or unreadable.
    """
    result = read_bundle(bundle)
    missing = ""
    if bars is None:
        try:
            bars = load_bars(bundle)
        except InputError as error:
            bars, missing = {}, f"No candles: {error}"
    return _write_atomically(bundle / REPORT_NAME, render_report(result, bars, missing))


def load_bars(bundle: Path) -> dict[str, BarColumns]:
    """The bars of a bundle's period by instrument id, from the catalog that its config.yaml names.

    Raises:
        ConfigError: the configuration cannot be read. DataError: the catalog or an instrument is not there.
    """
    run = load_run(bundle / "config.yaml")
    path = run.data.catalog
    if not path.is_absolute() and not path.exists():
        path = PROJECT_ROOT / path
    catalog = Catalog.open(path)
    start, end = utc_ns(run.data.test_start), utc_ns(run.data.end)
    return {name: catalog.bars(name, run.data.bar, start, end) for name in run.instruments}


def render_report(bundle: ResultBundle, bars: Mapping[str, BarColumns], missing: str = "") -> str:
    """The page's HTML; `missing` says why bars are lacking, if they are."""
    parts = [
        sections.equity_section(bundle),
        sections.returns_section(bundle),
        sections.candles_section(bundle, bars, missing),
        trades_section(bundle),
        costs_section(bundle),
        model_section(bundle),
        decisions_section(bundle),
        sections.provenance_section(bundle),
    ]
    template = Template(files("backtests").joinpath("report_template.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=text(bundle.name),
        header=sections.header(bundle),
        banners=sections.banners(bundle),
        tiles=sections.key_figures(bundle),
        sections="".join(parts),
        themes=embed_json({"light": charts.theme("light"), "dark": charts.theme("dark")}),
        plotly=get_plotlyjs(),
    )


def _write_atomically(path: Path, page: str) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(page)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
