import dataclasses
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.model import CryptoPerpetual, CurrencyPair

from catalog.instruments import (
    build_instrument,
    find_spec,
    instrument_name,
    market_of,
    read_exchange_info,
    shipped_specs,
    symbol_of,
)
from configs.errors import DataError
from tests.providers import shared_data

RECORDING = "fixtures/gocryptotrader/exchanges/binance/testdata/http.headers_and_signatures_removed.json"


def _perpetual(**changes: Any) -> dict[str, Any]:
    """One entry of fapi/v1/exchangeInfo, as Binance writes it."""
    return {
        "symbol": "ENAUSDT",
        "contractType": "PERPETUAL",
        "baseAsset": "ENA",
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "requiredMarginPercent": "5.0000",
        "maintMarginPercent": "2.5000",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.001", "maxPrice": "100", "tickSize": "0.000100"},
            {"filterType": "LOT_SIZE", "minQty": "1", "maxQty": "1000000", "stepSize": "1"},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
        **changes,
    }


def _file(path: Path, *entries: dict[str, Any], time: int | None = 1_754_596_814_166) -> Path:
    body = {"symbols": list(entries)} | ({} if time is None else {"serverTime": time})
    file = path / "exchangeInfo.json"
    file.write_text(json.dumps(body))
    return file


def test_names_lead_there_and_back() -> None:
    for symbol, market in (("BTCUSDT", "um"), ("BTCUSDT", "spot")):
        name = instrument_name(symbol, market)
        assert (symbol_of(name), market_of(name)) == (symbol, market)
    with pytest.raises(DataError, match="unknown market 'cm'; use um or spot"):
        instrument_name("BTCUSDT", "cm")


def test_the_shipped_filters_are_those_of_august_2025() -> None:
    spec = find_spec("BTCUSDT", "um")
    assert (spec.tick, spec.step, spec.min_notional) == (Decimal("0.1"), Decimal("0.001"), Decimal(100))
    assert (spec.margin_init, spec.margin_maint) == (Decimal("0.05"), Decimal("0.025"))
    assert (spec.as_of, spec.source) == ("2025-08-07", "/fapi/v1/exchangeInfo")
    spot = find_spec("BTCUSDT", "spot")
    assert (spot.tick, spot.step, spot.min_notional) == (Decimal("0.01"), Decimal("0.00001"), Decimal(5))
    assert spot.margin_init == 0


@pytest.mark.parametrize("market", ["um", "spot"])
def test_the_shipped_table_has_the_common_symbols_and_every_entry_builds(market: str) -> None:
    specs = shipped_specs(market)
    wanted = {
        f"{base}USDT" for base in ("BTC", "ETH", "BNB", "SOL", "XRP", "ADA", "LTC", "LINK", "BCH", "ETC")
    }
    assert wanted <= specs.keys()
    for symbol, spec in specs.items():
        instrument = build_instrument(spec)
        assert str(instrument.id) == instrument_name(symbol, market)
        assert Decimal(str(instrument.price_increment)) == spec.tick
        assert Decimal(str(instrument.size_increment)) == spec.step
        assert instrument.info == {"as_of": spec.as_of, "source": spec.source}


def test_the_shipped_table_equals_the_recorded_answers() -> None:
    for market in ("um", "spot"):
        recorded = read_exchange_info(shared_data(RECORDING), market)
        older = shared_data("fixtures/cryptofeed", "BINANCE_FUTURES.0" if market == "um" else "BINANCE.0")
        answers = read_exchange_info(older, market) | recorded
        assert {name: answers[name] for name in shipped_specs(market)} == shipped_specs(market)


def test_a_perpetual_is_built_with_real_filters_and_without_price_limits() -> None:
    instrument = build_instrument(find_spec("BTCUSDT", "um"))
    assert isinstance(instrument, CryptoPerpetual)
    assert (instrument.price_precision, instrument.size_precision) == (1, 3)
    assert (str(instrument.price_increment), str(instrument.lot_size)) == ("0.1", "0.001")
    assert (str(instrument.min_quantity), str(instrument.max_quantity)) == ("0.001", "1000.000")
    assert str(instrument.min_notional) == "100.00000000 USDT"
    assert (instrument.margin_init, instrument.margin_maint) == (Decimal("0.05"), Decimal("0.025"))
    assert instrument.min_price is None
    assert instrument.max_price is None  # the engine drops fills outside such limits


def test_a_spot_pair_is_built_without_margin() -> None:
    instrument = build_instrument(find_spec("ETHUSDT", "spot"))
    assert isinstance(instrument, CurrencyPair)
    assert (str(instrument.price_increment), str(instrument.size_increment)) == ("0.01", "0.0001")
    assert instrument.margin_init == 0


def test_trailing_zeros_of_a_tick_are_no_precision(tmp_path: Path) -> None:
    spec = read_exchange_info(_file(tmp_path, _perpetual()), "um")["ENAUSDT"]
    assert build_instrument(spec).price_precision == 4
    whole = dataclasses.replace(spec, tick=Decimal(10))
    assert (build_instrument(whole).price_precision, str(build_instrument(whole).price_increment)) == (
        0,
        "10",
    )


def test_a_symbol_without_filters_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ENAUSDT on market um.*/fapi/v1/exchangeInfo.*--exchange-info FILE"):
        find_spec("ENAUSDT", "um")
    file = _file(tmp_path, _perpetual())
    assert find_spec("ENAUSDT", "um", file).as_of == "2025-08-07"
    with pytest.raises(DataError, match=r"exchangeInfo\.json has no symbol BTCUSDT for market um"):
        find_spec("BTCUSDT", "um", file)


def test_delivery_contracts_and_the_other_market_are_left_out(tmp_path: Path) -> None:
    file = _file(tmp_path, _perpetual(), _perpetual(symbol="ENAUSDT_250926", contractType="CURRENT_QUARTER"))
    assert list(read_exchange_info(file, "um")) == ["ENAUSDT"]
    with pytest.raises(DataError, match="lists no tradable symbol for market spot"):
        read_exchange_info(file, "spot")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "holds no exchangeInfo answer for market um"),
        ("not json", "holds no exchangeInfo answer"),
        ('{"code": -1003, "msg": "Too many requests"}', "holds no exchangeInfo answer"),
        ('{"symbols": []}', "has no serverTime"),
        ('{"symbols": [], "serverTime": 1754596814166}', "lists no tradable symbol"),
        (
            '{"symbols": [{"contractType": "PERPETUAL", "symbol": "X"}], "serverTime": 1754596814166}',
            "entry of X",
        ),
        ('{"symbols": [3], "serverTime": 1754596814166}', r"entry of \?"),
    ],
)
def test_a_file_that_is_no_exchange_info_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "info.json"
    file.write_text(text)
    with pytest.raises(DataError, match=f"info.json.*{expected}"):
        read_exchange_info(file, "um")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "info.json"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a text file"):
        read_exchange_info(file, "um")


def test_a_tick_of_zero_is_refused(tmp_path: Path) -> None:
    filters = _perpetual()["filters"]
    filters[0]["tickSize"] = "0.00"
    with pytest.raises(DataError, match="ENAUSDT has tick 0 and step 1"):
        read_exchange_info(_file(tmp_path, _perpetual(filters=filters)), "um")


def test_a_recorded_line_is_read(tmp_path: Path) -> None:
    body = json.dumps({"serverTime": 1_626_858_243_909, "symbols": [_perpetual()]})
    file = tmp_path / "BINANCE_FUTURES.0"
    file.write_text(
        f"https://fapi.binance.com/fapi/v1/exchangeInfo -> 1626992740.1: {body}\nconfiguration: {{}}\n"
    )
    assert read_exchange_info(file, "um")["ENAUSDT"].as_of == "2021-07-21"
