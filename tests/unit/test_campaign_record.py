"""What a node's strategies have written down of their positions, held against the venue's."""

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from live.rehearsal.campaign.record import is_believed
from tests.campaign_evidence import COIN, NAME


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A strategy that holds 31 steps of 0.01."""
    monkeypatch.setattr(
        "live.rehearsal.campaign.record.read_exchange_info",
        lambda *_: {COIN: SimpleNamespace(step=Decimal("0.01"))},
    )
    memory = {"state": {"instrument": NAME, "held_lots": 31}}
    (tmp_path / "trade-momentum.json").write_bytes(msgspec.json.encode(memory))
    return tmp_path


@pytest.mark.parametrize(
    ("amount", "agrees"), [("0.31", True), ("0.306", True), ("0.32", False), ("0.3", False), ("-0.31", False)]
)
def test_a_position_is_compared_in_the_nodes_own_steps(state: Path, amount: str, *, agrees: bool) -> None:
    assert is_believed(state, {COIN: Decimal(amount)}) is agrees


def test_nothing_is_believed_that_is_not_held_and_nothing_held_that_is_not_believed(state: Path) -> None:
    assert not is_believed(state, {})
    assert not is_believed(state, {COIN: Decimal("0.31"), "ETHUSDT": Decimal("0.004")})
    (state / "trade-momentum.json").unlink()
    assert is_believed(state, {})
    assert not is_believed(state, {COIN: Decimal("0.004")})
