"""Spot refusals whose texts differ from the futures ones.

Source: Binance's spot errors.md.
"""

from live.rehearsal.errors import VenueError

__all__ = ["filter_failure", "refuse_cancel", "refuse_order", "refuse_pair", "refuse_places"]

_PAIRS = {
    -1158: "Order type not supported in OCO.",
    -1165: "A limit order in a buy OCO must be below.",
    -1166: "A limit order in a sell OCO must be above.",
    -1168: "At least one OCO order must be contingent.",
    -1196: "A stop loss order in a buy OCO must be above.",
    -1197: "A stop loss order in a sell OCO must be below.",
    -1198: "A take profit order in a buy OCO must be below.",
    -1199: "A take profit order in a sell OCO must be above.",
}
_REJECTED = {
    "balance": "Account has insufficient balance for requested action.",
    "duplicate": "Duplicate order sent.",
    "match": "Order would immediately match and take.",
    "trigger": "Order would trigger immediately.",
    "relation": "The relationship of the prices for the orders is not correct.",
}


def filter_failure(name: str) -> VenueError:
    """-1013 with the filter's name."""
    return VenueError(-1013, f"Filter failure: {name}")


def refuse_order(reason: str) -> VenueError:
    """-2010 for balance, duplicate, match, trigger or relation; KeyError for another reason."""
    return VenueError(-2010, _REJECTED[reason])


def refuse_cancel(text: str = "Unknown order sent.") -> VenueError:
    """-2011."""
    return VenueError(-2011, text)


def refuse_pair(code: int) -> VenueError:
    """An order list whose types do not make a pair."""
    return VenueError(code, _PAIRS[code])


def refuse_places(parameter: str) -> VenueError:
    """-1111 for a number with more decimals than the asset has."""
    return VenueError(-1111, f"Parameter '{parameter}' has too much precision.")
