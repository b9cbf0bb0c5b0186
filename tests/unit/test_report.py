import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from backtests.report import write_report
from catalog.instruments import build_instrument, shipped_specs
from catalog.store import BarColumns, Catalog
from configs.errors import DataError
from tests.bundles import BTC, ETH, random_bars, write_bundle

SECTIONS = ("equity", "returns", "candles", "trades", "costs", "model", "decisions", "provenance")
MINUS = "\u2212"


class Page(HTMLParser):
    """What a browser would see: tags with attributes, shown text, embedded figures, table rows by section."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.shown: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.figures: dict[str, dict] = {}
        self.rows: dict[str, int] = {}
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self._section = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self._open.append((tag, attributes))
        if tag == "section":
            self._section = str(attributes["id"])
        if tag == "tr":
            self.rows[self._section] = self.rows.get(self._section, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tag, attributes = self._open[-1] if self._open else ("", {})
        if tag == "script" and "data-for" in attributes:
            self.figures[str(attributes["data-for"])] = json.loads(data)
        elif tag in ("script", "style"):
            (self.scripts if tag == "script" else self.styles).append(data)
        else:
            self.shown.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.shown).split())

    @property
    def tiles(self) -> dict[str, str]:
        words = [w for w in self.shown if w.strip()]
        labels = "Return,Net PnL,Sharpe,Sortino,Calmar,Max drawdown,PSR,Trades,Win rate,Profit factor,"
        labels += "Fees,Slippage,Funding,Exposure,Turnover"
        return {label: words[words.index(label) + 1] for label in labels.split(",")}


def report(bundle: Path, bars: dict[str, BarColumns] | None) -> Page:
    return Page(write_report(bundle, bars).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, BarColumns]]:
    """30 days of 1m bars, some hundred trades, a model."""
    bars = {BTC: random_bars(30)}
    path = tmp_path_factory.mktemp("runs") / "may"
    return write_bundle(path, bars, synthetic=True, warnings=["Few days: ratios are uncertain."]), bars


@pytest.fixture(scope="module")
def page(month: tuple[Path, dict[str, BarColumns]]) -> Page:
    return report(*month)


def test_the_page_has_every_section_and_its_figures(page: Page) -> None:
    ids = [attributes.get("id") for tag, attributes in page.tags if tag == "section"]
    assert ids == list(SECTIONS)
    places = [a["id"] for tag, a in page.tags if a.get("class") == "plot"]
    assert sorted(places) == sorted(page.figures)
    expected = {"plot-equity", "plot-days", "plot-candles-0", "plot-trade-0", "plot-costs", "plot-decisions"}
    assert expected | {"plot-calibration-0"} <= set(places)
    anchors = [a["href"] for tag, a in page.tags if tag == "a"]
    assert anchors == [f"#{name}" for name in SECTIONS]


def test_the_page_needs_nothing_from_outside(page: Page) -> None:
    addresses = [a[key] for _, a in page.tags for key in ("src", "href", "action", "data") if key in a]
    assert all(str(address).startswith("#") for address in addresses)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    assert not re.search(r"url\(|@import|http", "".join(page.styles))
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(policy)
    assert "http" not in str(policy)
    assert sum(script.lstrip().startswith("/**\n* plotly.js") for script in page.scripts) == 1


def test_a_month_of_minutes_stays_a_small_file(month: tuple[Path, dict[str, BarColumns]], page: Page) -> None:
    assert len(month[1][BTC]) == 43_200
    assert (month[0] / "report.html").stat().st_size < 6_000_000
    assert "43,200 bars merged to at most 2,000 candles" in page.text


def test_the_tiles_show_the_summary_numbers(month: tuple[Path, dict[str, BarColumns]], page: Page) -> None:
    s = json.loads((month[0] / "summary.json").read_text())
    expected = {
        "Return": f"{s['return_pct']:+,.2f} %",
        "Net PnL": f"{s['net_pnl']:+,.2f} USDT",
        "Sharpe": f"{s['sharpe']:,.2f}",
        "Sortino": f"{s['sortino']:,.2f}",
        "Calmar": f"{s['calmar']:,.2f}",
        "Max drawdown": f"{s['max_drawdown_pct']:,.2f} %",
        "PSR": f"{100 * s['psr']:,.1f} %",
        "Trades": str(s["trades"]),
        "Win rate": f"{100 * s['win_rate']:,.1f} %",
        "Profit factor": f"{s['profit_factor']:,.2f}",
        "Fees": f"{s['fees']:,.2f} USDT",
        "Slippage": f"{s['slippage']:,.2f} USDT",
        "Funding": f"{abs(s['funding']):,.2f} USDT",
        "Exposure": f"{s['exposure_pct']:,.1f} %",
        "Turnover": f"{s['turnover']:,.1f}",
    }
    assert page.tiles == {label: value.replace("-", MINUS) for label, value in expected.items()}
    held = f"{s['benchmark_return_pct']:+,.2f} %".replace("-", MINUS)
    assert f"buy-and-hold {held}" in page.text


def test_synthetic_data_and_warnings_stand_out_in_plain_words(page: Page, tmp_path: Path) -> None:
    said = "Synthetic market with a weak planted signal: these results say nothing about real markets."
    assert said in page.text
    assert "Warning: Few days: ratios are uncertain." in page.text
    bars = {BTC: random_bars(1)}
    real = report(write_bundle(tmp_path / "real", bars), bars)
    assert "Synthetic market" not in real.text
    assert not [a for _, a in real.tags if "banner" in str(a.get("class")) and a.get("role") == "note"]


def test_the_same_bundle_gives_the_same_bytes_wherever_it_lies(
    month: tuple[Path, dict[str, BarColumns]], page: Page, tmp_path: Path
) -> None:
    bundle, bars = month
    first = (bundle / "report.html").read_bytes()
    moved = tmp_path / ".may.123.tmp"
    moved.mkdir()
    for file in bundle.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    assert write_report(moved, bars).read_bytes() == first


def test_whatever_a_bundle_says_is_shown_and_never_becomes_markup(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>&"
    bars = {BTC: random_bars(2)}
    bundle = write_bundle(tmp_path / "evil", bars, strategy=evil, warnings=[evil])
    positions = pd.read_parquet(bundle / "positions.parquet")
    positions["exit_reason"] = evil
    positions.to_parquet(bundle / "positions.parquet", index=False)
    with (bundle / "config.yaml").open("a") as config:
        config.write(f"# {evil}\n")
    seen = report(bundle, bars)
    assert "img" not in {tag for tag, _ in seen.tags}
    assert seen.text.count(evil) >= 4  # strategy, warning, reasons, configuration
    names = [trace.get("name") for trace in seen.figures["plot-candles-0"]["data"]]
    assert "Exit: &lt;/script>&lt;img src=x onerror=alert(1)>&amp;" in names


def test_a_run_without_trades_and_model_says_so(tmp_path: Path) -> None:
    bars = {BTC: random_bars(2)}
    seen = report(write_bundle(tmp_path / "idle", bars, trades_per_day=0, model=False), bars)
    for sentence in (
        "No trades were made in this run.",
        "Nothing was traded, so nothing was paid.",
        "This run used no model.",
        "No strategy wanted to trade",
    ):
        assert sentence in seen.text
    assert seen.tiles["Trades"] == "0"
    assert seen.tiles["Win rate"] == seen.tiles["Profit factor"] == "n/a"
    assert seen.tiles["Return"] == "0.00 %"
    assert "nan" not in seen.text.lower().split()


def test_a_day_with_one_trade_says_so(tmp_path: Path) -> None:
    bars = {BTC: random_bars(1)}
    seen = report(write_bundle(tmp_path / "one", bars, max_trades=1, trades_per_day=8), bars)
    assert "One trade." in seen.text
    assert "The only trade: trade 1" in seen.text
    assert "The run covers a single day" in seen.text
    assert "plot-days" not in seen.figures
    assert seen.tiles["Trades"] == "1"


def test_many_trades_are_cut_to_the_largest_with_a_note(tmp_path: Path) -> None:
    bars = {BTC: random_bars(100, seed=3, minutes=15), ETH: random_bars(100, seed=4, minutes=15)}
    bundle = write_bundle(tmp_path / "busy", bars, trades_per_day=60)
    count = len(pd.read_parquet(bundle / "positions.parquet"))
    assert count > 500
    html = write_report(bundle, bars).read_text()
    assert f"500 of {count:,} trades" in html
    table = html[html.index('class="sortable"') :]
    assert table[: table.index("</table>")].count("<tr>") == 501
    assert {BTC, ETH} <= set(re.findall(r"<h3>([^<]*)</h3>", html))


def test_candles_come_from_the_bundles_catalog_or_the_page_says_why_not(tmp_path: Path) -> None:
    bars = random_bars(1)
    bundle = write_bundle(tmp_path / "run", {BTC: bars}, catalog=tmp_path / "market")
    without = report(bundle, None)
    assert "No candles:" in without.text
    assert "plot-candles-0" not in without.figures
    catalog = Catalog.create(tmp_path / "market")
    catalog.write_instrument(build_instrument(shipped_specs("um")["BTCUSDT"]))
    catalog.write_bars(BTC, "1m", bars)
    given = write_report(bundle, {BTC: bars}).read_bytes()
    assert write_report(bundle).read_bytes() == given


def test_a_report_that_cannot_be_put_in_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = {BTC: random_bars(1)}
    bundle = write_bundle(tmp_path / "run", bars)
    (bundle / "report.html").write_text("the last good one")
    before = sorted(file.name for file in bundle.iterdir())

    def full(_self: Path, _target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(bundle, bars)
    assert (bundle / "report.html").read_text() == "the last good one"
    assert sorted(file.name for file in bundle.iterdir()) == before


def test_a_folder_that_is_no_bundle_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no result bundle .*summary\.json"):
        write_report(tmp_path)


@pytest.mark.parametrize("name", ["equity.parquet", "config.yaml", "decisions.parquet"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    bundle = write_bundle(tmp_path / "run", {BTC: random_bars(0.2)})
    (bundle / name).unlink()
    with pytest.raises(DataError, match=f"lacks {name}"):
        write_report(bundle, {})


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "run", {BTC: random_bars(0.2)})
    (bundle / "fills.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match="cannot be read"):
        write_report(bundle, {})
