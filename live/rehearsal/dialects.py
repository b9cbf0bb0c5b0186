"""Which protocol a venue speaks: one entry a market."""

from typing import Any

from live.rehearsal.futures.dialect import USD_M
from live.rehearsal.futures.venue import Venue
from live.rehearsal.ports import Exchange
from live.rehearsal.serving.dialect import Dialect
from live.rehearsal.spot.dialect import SPOT
from live.rehearsal.spot.venue import SpotVenue

__all__ = ["dialect_of"]

_DIALECTS: dict[type[Any], Dialect] = {Venue: USD_M, SpotVenue: SPOT}


def dialect_of(venue: Exchange) -> Dialect:
    """The protocol that a venue speaks."""
    return next(dialect for kind, dialect in _DIALECTS.items() if isinstance(venue, kind))
