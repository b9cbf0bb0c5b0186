"""Orders that a futures venue makes by itself on an account's position, told by their client order ids."""

__all__ = ["DELEVERAGED", "LIQUIDATED", "WORDS", "forced_kind"]

LIQUIDATED, DELEVERAGED, _SETTLED = "liquidation", "auto_deleveraging", "settlement"
_PREFIXES = {"autoclose-": LIQUIDATED, "adl_autoclose": DELEVERAGED, "settlement_autoclose-": _SETTLED}
WORDS = {
    LIQUIDATED: "liquidation: the venue has closed of the position for want of margin",
    DELEVERAGED: "ADL: the venue has taken away of the position (auto-deleveraging)",
    _SETTLED: "settlement: the venue has closed the position, the contract is at its end",
}


def forced_kind(client_order_id: str) -> str:
    """Why the venue made an order with this client order id; empty for anybody else's.

    >>> forced_kind("autoclose-1596107620040000020"), forced_kind("adl_autoclose"), forced_kind("my_entry")
    ('liquidation', 'auto_deleveraging', '')
    """
    return next((kind for prefix, kind in _PREFIXES.items() if client_order_id.startswith(prefix)), "")
