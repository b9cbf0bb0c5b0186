import json
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from catalog.instruments import build_instrument, shipped_specs
from catalog.store import Catalog
from tests.bundles import BTC, random_bars, write_bundle

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "results.ipynb"


def with_parameters(source: str) -> nbformat.NotebookNode:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    cell.source = source
    return notebook


def run(notebook: nbformat.NotebookNode, folder: Path) -> str:
    """Everything the executed notebook shows, as one text."""
    NotebookClient(notebook, timeout=220, resources={"metadata": {"path": str(folder)}}).execute()
    return json.dumps([cell.get("outputs", []) for cell in notebook.cells])


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


def test_the_notebook_shows_a_bundle_and_its_catalog_from_anywhere(tmp_path: Path) -> None:
    bars = random_bars(3)
    catalog = Catalog.create(tmp_path / "market")
    catalog.write_instrument(build_instrument(shipped_specs("um")["BTCUSDT"]))
    catalog.write_bars(BTC, "1m", bars)
    bundle = write_bundle(
        tmp_path / "spring_run",
        {BTC: bars},
        warnings=["Three days only."],
        synthetic=True,
        catalog=catalog.path,
    )
    shown = run(with_parameters(f"BUNDLE = {str(bundle)!r}"), tmp_path)
    for expected in ("spring_run", "Three days only.", "Synthetic market", "waterfall", "Perfect", "Intent"):
        assert expected in shown
    assert "No candles below" not in shown
    assert shown.count("candlestick") >= 3  # the whole period and two trades
