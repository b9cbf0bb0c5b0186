"""What a live node does not do on spot, and why: refused before anything is connected.

A check before the start could not open Binance's testnet instead. It can compare the schema's version of one
answer, but what the engine makes of the account's events, of a list's two orders and of a fill's fee shows
only when orders are there, and one binary message that it cannot read ends the process.
"""

from configs.errors import ConfigError
from configs.schema import RunConfig, StrategyConfig

__all__ = ["check_spot"]


_ONLY = "spot is traded on the rehearsal venue only"
_UNPROVEN = (
    f"{_ONLY}: the engine reads Binance's spot account, orders and fills over REST in SBE alone (schema 3, "
    "version 5), and nobody has seen it read Binance's own: the rehearsal encodes them itself. Needed first: "
    "an Ed25519 key of the spot testnet, a run there with the account's events as JSON "
    "(live.base_url_ws_trading wss://ws-api.testnet.binance.vision/ws-api/v3, without responseFormat=sbe: a "
    "binary event that the engine cannot read ends the process), its answers and events as recordings in "
    "the rehearsal's tests, and a preflight that compares the schema's version"
)
_PAPER = (
    f"{_ONLY}: on paper the engine's sandbox fills the orders, under trade numbers of its own, but what "
    "coins a strategy holds is counted by the venue's list of trades, and the sandbox keeps none to be "
    "asked. Needed first: such a list"
)


def check_spot(run: RunConfig, venue: str) -> None:
    """ConfigError for what cannot be made safe on spot with this engine; `venue` is rehearsal, paper ..."""
    if venue != "rehearsal":
        raise ConfigError(_PAPER if venue == "paper" else _UNPROVEN)
    for index, strategy in enumerate(run.strategies):
        where, why = _refusal(strategy)
        if why:
            raise ConfigError(f"strategies.{index}.{where}: {why}")


def _refusal(strategy: StrategyConfig) -> tuple[str, str]:
    ladder = strategy.targets.ladder
    if len(ladder) > 1 or any(share < 1.0 for _, share in ladder):
        return "targets", (
            "spot locks what a sell order offers, and takes a stop and a target on the same coins only as "
            "one list: give one target (pct), or none"
        )
    if strategy.entry.order != "market":
        return "entry.order", "a resting entry is moved by cancelReplace, whose answer the engine cannot read"
    if strategy.scale_in is not None:
        return "scale_in", "each addition would take the cover away and send it again; leave it out"
    return "", ""
