"""The messages of Binance's spot SBE schema (id 3, version 5) that a trading client asks for, as tables.

A message is a block of fields, then groups, then variable data. A field is written `name:type`, and then
`?` optional (null where the JSON has nothing), `@path` its place in the JSON answer if that is not its name
("." the item itself, a number a position in a list), `=value` what stands for a key that the JSON leaves out.
Data without a type is text with one byte of length. A decimal is a whole number with its exponent elsewhere
in the message: the types `price`, `quantity`, `fee`, `factor` and `free` name the field that holds it.
"""

from dataclasses import dataclass
from types import MappingProxyType

__all__ = [
    "BITS",
    "DECIMALS",
    "ENUMS",
    "FILTERS",
    "INTEGERS",
    "MESSAGES",
    "SCHEMA_ID",
    "SCHEMA_VERSION",
    "Data",
    "Field",
    "Group",
    "Message",
]

SCHEMA_ID = 3
SCHEMA_VERSION = 5


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a block. `path`: its place in the JSON answer, `default`: stands for a missing key."""

    name: str
    kind: str
    path: tuple[str, ...]
    optional: bool
    default: str | None


@dataclass(frozen=True, slots=True)
class Data:
    """Text, or a whole frame (`kind` "frame8", "frame16", "frame32"), with its length before it."""

    name: str
    kind: str
    path: tuple[str, ...]
    optional: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A repeated block. `wide`: the count takes four bytes, else two."""

    name: str
    path: tuple[str, ...]
    fields: tuple[Field, ...]
    groups: "tuple[Group, ...]"
    data: tuple[Data, ...]
    wide: bool


@dataclass(frozen=True, slots=True)
class Message:
    """A template: its number and what follows the header."""

    template: int
    fields: tuple[Field, ...]
    groups: tuple[Group, ...]
    data: tuple[Data, ...]


# struct code, and the value that means "none"
INTEGERS = MappingProxyType(
    {
        "i8": ("b", -(2**7)),
        "u8": ("B", 2**8 - 1),
        "i16": ("h", -(2**15)),
        "u16": ("H", 2**16 - 1),
        "i32": ("i", -(2**31)),
        "i64": ("q", -(2**63)),
        "exponent": ("b", -(2**7)),
        "micros": ("q", -(2**63)),  # microseconds; the JSON answers have milliseconds
        "bool": ("B", 2**8 - 1),
    }
)
# bytes of the whole number, and the field with its exponent
DECIMALS = MappingProxyType(
    {
        "price": (8, "priceExponent"),
        "price128": (16, "priceExponent"),
        "quantity": (8, "qtyExponent"),
        "quantity128": (16, "qtyExponent"),
        "fee": (8, "commissionExponent"),
        "factor": (8, "multiplierExponent"),
        "free": (8, "exponent"),
    }
)


def _values(text: str) -> dict[str, int]:
    pairs = (word.split(":") for word in text.split())
    return {name: int(number) for name, number in pairs}


# an unknown value is NON_REPRESENTABLE, as the exchange does it
ENUMS = MappingProxyType(
    {
        "accountType": _values("SPOT:0 UNKNOWN:2"),
        "cancelReplaceStatus": _values("SUCCESS:0 FAILURE:1 NOT_ATTEMPTED:2"),
        "contingencyType": _values("OCO:1 OTO:2"),
        "expiryReason": _values(
            "REJECTED:1 EXCHANGE_CANCELED:2 OCO_TRIGGER:3 OTO_PHASE_ONE_EXPIRED:4 "
            "UNFILLED_IOC_QUANTITY_EXPIRED:5 UNFILLED_FOK_ORDER_EXPIRED:6 "
            "INSUFFICIENT_LIQUIDITY:7 EXECUTION_RULE_PRICE_RANGE_EXCEEDED:8"
        ),
        "floor": _values("EXCHANGE:1 BROKER:2 SOR:3"),
        "listOrderStatus": _values("CANCELING:0 EXECUTING:1 ALL_DONE:2 REJECT:3"),
        "listStatusType": _values("RESPONSE:0 EXEC_STARTED:1 ALL_DONE:2 UPDATED:3"),
        "matchType": _values("AUTO_MATCH:1 ONE_PARTY_TRADE_REPORT:2"),
        "orderCapacity": _values("PRINCIPAL:1 AGENCY:2"),
        "orderSide": _values("BUY:0 SELL:1"),
        "orderStatus": _values(
            "NEW:0 PARTIALLY_FILLED:1 FILLED:2 CANCELED:3 PENDING_CANCEL:4 REJECTED:5 EXPIRED:6 "
            "EXPIRED_IN_MATCH:9 PENDING_NEW:11 UNKNOWN:253"
        ),
        "orderType": _values(
            "MARKET:0 LIMIT:1 STOP_LOSS:2 STOP_LOSS_LIMIT:3 TAKE_PROFIT:4 TAKE_PROFIT_LIMIT:5 LIMIT_MAKER:6"
        ),
        "pegOffsetType": _values("PRICE_LEVEL:1"),
        "pegPriceType": _values("PRIMARY_PEG:1 MARKET_PEG:2"),
        "rateLimitInterval": _values("SECOND:0 MINUTE:1 HOUR:2 DAY:3"),
        "rateLimitType": _values("RAW_REQUESTS:0 CONNECTIONS:1 REQUEST_WEIGHT:2 ORDERS:3"),
        "selfTradePreventionMode": _values(
            "NONE:1 EXPIRE_TAKER:2 EXPIRE_MAKER:3 EXPIRE_BOTH:4 DECREMENT:5 TRANSFER:6"
        ),
        "symbolStatus": _values("TRADING:0 END_OF_DAY:1 HALT:2 BREAK:3 CANCEL_ONLY:4"),
        "timeInForce": _values("GTC:0 IOC:1 FOK:2"),
    }
)
# sets: struct code, the bit of each word, the bit of an unknown one
BITS = MappingProxyType(
    {
        "orderTypes": ("H", ENUMS["orderType"], 15),
        "preventionModes": (
            "B",
            _values("NONE:0 EXPIRE_TAKER:1 EXPIRE_MAKER:2 EXPIRE_BOTH:3 DECREMENT:4 TRANSFER:5"),
            7,
        ),
    }
)


def _field(text: str) -> Field:
    text, _, default = text.partition("=")
    text, _, path = text.partition("@")
    name, _, kind = text.partition(":")
    return Field(name, kind.rstrip("?"), _path(path or name), kind.endswith("?"), default or None)


def _path(text: str) -> tuple[str, ...]:
    return () if text == "." else tuple(text.split("."))


def _fields(text: str) -> tuple[Field, ...]:
    return tuple(_field(word) for word in text.split())


def _data(text: str) -> tuple[Data, ...]:
    fields = _fields(text)
    return tuple(Data(field.name, field.kind or "text8", field.path, field.optional) for field in fields)


def _group(
    name: str, fields: str = "", data: str = "", *, groups: tuple[Group, ...] = (), wide: bool = True
) -> Group:
    name, _, path = name.partition("@")
    return Group(name, _path(path or name), _fields(fields), groups, _data(data), wide)


def _message(template: int, fields: str = "", *groups: Group, data: str = "") -> Message:
    return Message(template, _fields(fields), groups, _data(data))


_PEGGED = "pegPriceType:pegPriceType? pegOffsetType:pegOffsetType? pegOffsetValue:u8? peggedPrice:price?"
_STATE = (
    "status:orderStatus timeInForce:timeInForce orderType:orderType@type side:orderSide "
    "stopPrice:price? trailingDelta:i64? trailingTime:micros?"
)
_ORIGIN = (
    "strategyId:i64? strategyType:i32? orderCapacity:orderCapacity=PRINCIPAL workingFloor:floor=EXCHANGE "
    "selfTradePreventionMode:selfTradePreventionMode=NONE"
)
_DONE = "price:price origQty:quantity executedQty:quantity cummulativeQuoteQty:price "
_EXPONENTS = "priceExponent:exponent qtyExponent:exponent "
_TRANSACTION = "orderId:i64 orderListId:i64? transactTime:micros "
_SENT = (
    f"{_TRANSACTION}{_DONE}{_STATE} workingTime:micros? icebergQty:quantity? {_ORIGIN} tradeGroupId:i64? "
    "preventedQuantity:quantity=0 usedSor:bool=False origQuoteOrderQty:price=0 "
    f"{_PEGGED} expiryReason:expiryReason?"
)
_CANCELLED = (
    f"{_TRANSACTION}{_DONE}{_STATE} icebergQty:quantity? {_ORIGIN} preventedQuantity:quantity=0 "
    f"usedSor:bool=False origQuoteOrderQty:price=0 {_PEGGED}"
)


def _kept(prevented: str) -> str:
    """An order that is asked for: one in a list has its prevented quantity in the exponent of prices."""
    return (
        f"{_EXPONENTS}orderId:i64 orderListId:i64? {_DONE}{_STATE} icebergQty:quantity? time:micros "
        f"updateTime:micros isWorking:bool workingTime:micros? origQuoteOrderQty:price=0 {_ORIGIN} "
        f"preventedMatchId:i64? preventedQuantity:{prevented}=0 usedSor:bool=False {_PEGGED} "
        "expiryReason:expiryReason?"
    )


_NAMED = "symbol clientOrderId"
_CANCELLED_NAMES = "symbol origClientOrderId clientOrderId"
_LIST = (
    "orderListId:i64 contingencyType:contingencyType listStatusType:listStatusType "
    "listOrderStatus:listOrderStatus transactionTime:micros "
)
_LIST_NAMES = "listClientOrderId symbol"
_MEMBERS = _group("orders", "orderId:i64", _NAMED, wide=False)
_FILLS = _group(
    "fills",
    "commissionExponent:exponent matchType:matchType=AUTO_MATCH price:price qty:quantity commission:fee "
    "tradeId:i64? allocId:i64?",
    "commissionAsset:text8?",
)
_PREVENTED = _group(
    "preventedMatches",
    "preventedMatchId:i64 makerOrderId:i64? price:price? takerPreventedQuantity:quantity? "
    "makerPreventedQuantity:quantity?",
    "makerSymbol:text8?",
)
_LEVEL = "price:price@0 qty:quantity@1"
_LIMIT = "rateLimitType:rateLimitType interval:rateLimitInterval intervalNum:u8 rateLimit:i64@limit"
_TICKER = "priceExponent:exponent price:price?"
_BOOK = f"{_EXPONENTS}bidPrice:price? bidQty:quantity askPrice:price? askQty:quantity"
_SYMBOL = (
    "status:symbolStatus baseAssetPrecision:u8 quoteAssetPrecision:u8 baseCommissionPrecision:u8=8 "
    "quoteCommissionPrecision:u8=8 orderTypes:orderTypes icebergAllowed:bool ocoAllowed:bool "
    "otoAllowed:bool=False quoteOrderQtyMarketAllowed:bool=False allowTrailingStop:bool=False "
    "cancelReplaceAllowed:bool=False "
    "amendAllowed:bool=False isSpotTradingAllowed:bool isMarginTradingAllowed:bool "
    "defaultSelfTradePreventionMode:selfTradePreventionMode=NONE "
    "allowedSelfTradePreventionModes:preventionModes pegInstructionsAllowed:bool?"
)
_LOT = "qtyExponent:exponent minQty:quantity maxQty:quantity stepSize:quantity"

FILTERS = MappingProxyType(
    {
        "PRICE_FILTER": _message(1, "priceExponent:exponent minPrice:price maxPrice:price tickSize:price"),
        "PERCENT_PRICE": _message(
            2, "multiplierExponent:exponent multiplierUp:factor multiplierDown:factor avgPriceMins:i32"
        ),
        "PERCENT_PRICE_BY_SIDE": _message(
            3,
            "multiplierExponent:exponent bidMultiplierUp:factor bidMultiplierDown:factor "
            "askMultiplierUp:factor askMultiplierDown:factor avgPriceMins:i32",
        ),
        "LOT_SIZE": _message(4, _LOT),
        "MIN_NOTIONAL": _message(
            5, "priceExponent:exponent minNotional:price applyToMarket:bool avgPriceMins:i32"
        ),
        "NOTIONAL": _message(
            6,
            "priceExponent:exponent minNotional:price applyMinToMarket:bool maxNotional:price "
            "applyMaxToMarket:bool avgPriceMins:i32",
        ),
        "ICEBERG_PARTS": _message(7, "filterLimit:i64@limit"),
        "MARKET_LOT_SIZE": _message(8, _LOT),
        "MAX_NUM_ORDERS": _message(9, "maxNumOrders:i64"),
        "MAX_NUM_ALGO_ORDERS": _message(10, "maxNumAlgoOrders:i64"),
        "MAX_NUM_ICEBERG_ORDERS": _message(11, "maxNumIcebergOrders:i64"),
        "MAX_POSITION": _message(12, "qtyExponent:exponent maxPosition:quantity"),
        "TRAILING_DELTA": _message(
            13,
            "minTrailingAboveDelta:i64 maxTrailingAboveDelta:i64 minTrailingBelowDelta:i64 "
            "maxTrailingBelowDelta:i64",
        ),
        "EXCHANGE_MAX_NUM_ORDERS": _message(15, "maxNumOrders:i64"),
        "EXCHANGE_MAX_NUM_ALGO_ORDERS": _message(16, "maxNumAlgoOrders:i64"),
        "EXCHANGE_MAX_NUM_ICEBERG_ORDERS": _message(17, "maxNumIcebergOrders:i64"),
        "EXCHANGE_MAX_NUM_ORDER_LISTS": _message(19, "maxNumOrderLists:i64"),
        "MAX_NUM_ORDER_LISTS": _message(18, "maxNumOrderLists:i64"),
        "MAX_NUM_ORDER_AMENDS": _message(20, "maxNumOrderAmends:i64"),
    }
)

MESSAGES = MappingProxyType(
    {
        "ErrorResponse": _message(
            100, "code:i16 serverTime:micros? retryAfter:micros?", data="msg:text16 data:frame32?"
        ),
        "PingResponse": _message(101),
        "ServerTimeResponse": _message(102, "serverTime:micros"),
        "ExchangeInfoResponse": _message(
            103,
            "",
            _group("rateLimits", _LIMIT),
            _group("exchangeFilters", data="filter:frame8@."),
            _group(
                "symbols",
                _SYMBOL,
                "symbol baseAsset quoteAsset",
                groups=(
                    _group("filters", data="filter:frame8@."),
                    _group("permissionSets", groups=(_group("permissions@.", data="permission@."),)),
                ),
            ),
            _group("sors", data="baseAsset", groups=(_group("sorSymbols@symbols", data="symbol@."),)),
        ),
        "DepthResponse": _message(
            200, f"lastUpdateId:i64 {_EXPONENTS}", _group("bids", _LEVEL), _group("asks", _LEVEL)
        ),
        "TradesResponse": _message(
            201,
            _EXPONENTS,
            _group(
                "trades@.",
                "id:i64 price:price qty:quantity quoteQty:price time:micros isBuyerMaker:bool "
                "isBestMatch:bool",
            ),
        ),
        "AggTradesResponse": _message(
            202,
            _EXPONENTS,
            _group(
                "aggTrades@.",
                "aggTradeId:i64@a price:price@p qty:quantity@q firstTradeId:i64@f lastTradeId:i64@l "
                "time:micros@T isBuyerMaker:bool@m isBestMatch:bool@M",
            ),
        ),
        "KlinesResponse": _message(
            203,
            _EXPONENTS,
            _group(
                "klines@.",
                "openTime:micros@0 openPrice:price@1 highPrice:price@2 lowPrice:price@3 closePrice:price@4 "
                "volume:quantity128@5 closeTime:micros@6 quoteVolume:price128@7 numTrades:i64@8 "
                "takerBuyBaseVolume:quantity128@9 takerBuyQuoteVolume:price128@10",
            ),
        ),
        "PriceTickerSymbolResponse": _message(209, _TICKER, data="symbol"),
        "PriceTickerResponse": _message(210, "", _group("tickers@.", _TICKER, "symbol")),
        "BookTickerSymbolResponse": _message(211, _BOOK, data="symbol"),
        "BookTickerResponse": _message(212, "", _group("tickers@.", _BOOK, "symbol")),
        "NewOrderAckResponse": _message(300, _TRANSACTION, data=_NAMED),
        "NewOrderResultResponse": _message(301, _EXPONENTS + _SENT, data=_NAMED),
        "NewOrderFullResponse": _message(302, _EXPONENTS + _SENT, _FILLS, _PREVENTED, data=_NAMED),
        "OrderResponse": _message(304, _kept("quantity"), data=_NAMED),
        "CancelOrderResponse": _message(305, _EXPONENTS + _CANCELLED, data=_CANCELLED_NAMES),
        "CancelOpenOrdersResponse": _message(306, "", _group("responses@.", data="response:frame16@.")),
        "CancelReplaceOrderResponse": _message(
            307,
            "cancelResult:cancelReplaceStatus newOrderResult:cancelReplaceStatus",
            data="cancelResponse:frame16? newOrderResponse:frame32?",
        ),
        "OrdersResponse": _message(308, "", _group("orders@.", _kept("price"), _NAMED)),
        "NewOrderListAckResponse": _message(
            309, _LIST, _MEMBERS, _group("orderReports", _TRANSACTION, _NAMED, wide=False), data=_LIST_NAMES
        ),
        "NewOrderListResultResponse": _message(
            310,
            _LIST + _EXPONENTS,
            _MEMBERS,
            _group("orderReports", _SENT, _NAMED, wide=False),
            data=_LIST_NAMES,
        ),
        "NewOrderListFullResponse": _message(
            311,
            _LIST + _EXPONENTS,
            _MEMBERS,
            _group("orderReports", _SENT, _NAMED, groups=(_FILLS, _PREVENTED), wide=False),
            data=_LIST_NAMES,
        ),
        "CancelOrderListResponse": _message(
            312,
            _LIST + _EXPONENTS,
            _MEMBERS,
            _group("orderReports", _CANCELLED, _CANCELLED_NAMES, wide=False),
            data=_LIST_NAMES,
        ),
        "OrderListResponse": _message(313, _LIST, _MEMBERS, data=_LIST_NAMES),
        "OrderListsResponse": _message(
            314,
            "",
            _group("orderLists@.", _LIST, _LIST_NAMES, groups=(_group("orders", "orderId:i64", _NAMED),)),
        ),
        "AccountResponse": _message(
            400,
            "commissionExponent:exponent commissionRateMaker:fee@commissionRates.maker "
            "commissionRateTaker:fee@commissionRates.taker commissionRateBuyer:fee@commissionRates.buyer "
            "commissionRateSeller:fee@commissionRates.seller canTrade:bool canWithdraw:bool canDeposit:bool "
            "brokered:bool=False requireSelfTradePrevention:bool=False preventSor:bool=False "
            "updateTime:micros accountType:accountType=SPOT tradeGroupId:i64? uid:i64=1",
            _group("balances", "exponent:exponent free:free locked:free", "asset"),
            _group("permissions", data="permission@."),
            _group("reduceOnlyAssets", data="asset@."),
        ),
        "AccountTradesResponse": _message(
            401,
            "",
            _group(
                "trades@.",
                f"{_EXPONENTS}commissionExponent:exponent id:i64 orderId:i64 orderListId:i64? price:price "
                "qty:quantity quoteQty:price commission:fee time:micros isBuyer:bool isMaker:bool "
                "isBestMatch:bool",
                "symbol commissionAsset:text8?",
            ),
        ),
        "AccountOrderRateLimitResponse": _message(
            402, "", _group("rateLimits@.", f"{_LIMIT} numOrders:i64@count")
        ),
    }
)
