"""What a live node refuses on spot, with the reason."""

from typing import Any

import pytest

from configs.errors import ConfigError
from configs.load import load_run
from configs.schema import RunConfig
from live.venues import VenueKind, check_venue
from tests.spot_nodes import spot_run_file


def spot_run(tmp_path: Any, **more: Any) -> RunConfig:
    return load_run(spot_run_file(tmp_path, **more), ())


def test_one_target_and_a_stop_are_taken_on_the_rehearsal(tmp_path: Any) -> None:
    check_venue(spot_run(tmp_path), VenueKind.REHEARSAL)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (VenueKind.PAPER, "list of trades.*Needed first: such a list"),
        (VenueKind.TESTNET, r"SBE alone \(schema 3, version 5\).*Needed first: an Ed25519 key"),
        (VenueKind.LIVE, r"SBE alone \(schema 3, version 5\).*Needed first: an Ed25519 key"),
    ],
)
def test_spot_is_refused_anywhere_else_with_what_would_be_needed(
    tmp_path: Any, kind: VenueKind, said: str
) -> None:
    with pytest.raises(ConfigError, match=f"rehearsal venue only: .*{said}"):
        check_venue(spot_run(tmp_path), kind)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"entry": {"order": "limit"}}, r"strategies\.0\.entry\.order: a resting entry"),
        ({"scale_in": {"at_pct": [1.0], "add_pct": 50.0}}, r"strategies\.0\.scale_in"),
    ],
)
def test_what_cannot_be_made_safe_is_refused_with_the_reason(tmp_path: Any, more: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_venue(spot_run(tmp_path, **more), VenueKind.REHEARSAL)


def test_several_targets_are_refused(tmp_path: Any) -> None:
    run = spot_run(tmp_path)
    tranches = {"tranches": [{"pct": 1.0, "close_pct": 50.0}, {"pct": 2.0, "close_pct": 50.0}]}
    strategy = run.strategies[0].model_validate(
        run.strategies[0].model_dump(exclude_unset=True) | {"targets": tranches}
    )
    with pytest.raises(ConfigError, match=r"strategies\.0\.targets: spot locks"):
        check_venue(run.model_copy(update={"strategies": (strategy,)}), VenueKind.REHEARSAL)
