"""Factories shared by the tests: real data where it is at hand, small seeded data otherwise."""

from pathlib import Path

import pytest

__all__ = ["shared_data"]


def shared_data(*parts: str) -> Path:
    """A path below the real market data beside the checkout; the test is skipped when it is not there."""
    path = Path(__file__).resolve().parents[2].joinpath("shared", "data", *parts)
    if not path.exists():
        pytest.skip(f"needs real market data: {'/'.join(parts) or 'shared/data'}")
    return path
