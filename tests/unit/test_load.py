"""Run files, overrides, hashes and secrets: what is read, and the one line each mistake gives."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError
from configs.load import PROJECT_ROOT, config_hash, dump_config, load_run
from configs.schema import RunConfig
from strategies.assembly import check_strategies
from strategies.discovery import known_strategies

RUN_FILES = sorted((PROJECT_ROOT / "configs" / "runs").glob("*.yaml"))
MINIMAL = """\
name: small
data: {catalog: data/x, start: 2025-01-01, test_start: 2025-01-02, end: 2025-01-03}
models: [{name: direction}]
strategies:
  - use: ml_basic
    instrument: BTCUSDT-PERP.BINANCE
    model: direction
    stop: {pct: 2.0}
"""
SMALL_BUT_DEEP = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    return _write(tmp_path, MINIMAL)


def _write(folder: Path, text: str | bytes) -> Path:
    path = folder / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _error(path: Path | None, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_run(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


# --- the run files that ship -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda p: p.stem)
def test_a_shipped_run_file_loads_is_named_like_its_file_and_its_strategies_know_their_signals(
    path: Path,
) -> None:
    run = load_run(path)
    assert run.name == path.stem
    check_strategies(run)
    for strategy in run.strategies:
        assert strategy.allow_short == strategy.instrument.endswith("-PERP.BINANCE")


# stop, target(s) and largest position in per cent, as designed
DESIGNED = {
    "ml_basic": (2.0, [4.0], 10.0),
    "ml_adaptive": (2.0, [3.0, 6.0, 10.0], 20.0),
    "ml_sentiment": (2.0, [4.0], 10.0),
    "momentum_leverage": (10.0, [35.0], 50.0),
    "ensemble_weighted": (6.0, [20.0], 50.0),
}


@pytest.mark.parametrize(
    "path", [p for p in RUN_FILES if not p.stem.startswith("portfolio")], ids=lambda p: p.stem
)
def test_a_shipped_run_file_uses_the_designed_protection(path: Path) -> None:
    for strategy in load_run(path).strategies:
        targets = [round(100 * distance, 9) for distance, _ in strategy.targets.ladder]
        found = (strategy.stop.pct, targets, strategy.sizing.max_position_pct)
        assert found == DESIGNED.get(strategy.use, found)


def test_every_strategy_has_a_run_file() -> None:
    assert {s.use for p in RUN_FILES for s in load_run(p).strategies} == set(known_strategies())


def test_these_are_the_run_files_that_ship() -> None:
    runs = {path.stem: load_run(path) for path in RUN_FILES}
    assert {name: (r.instruments[0], r.data.bar) for name, r in runs.items()} == {
        "demo": ("BTCUSDT-PERP.BINANCE", "1m"),
        "btc_ml_basic": ("BTCUSDT-PERP.BINANCE", "1m"),
        "eth_ml_basic": ("ETHUSDT-PERP.BINANCE", "1m"),
        "btc_5m_ml_basic": ("BTCUSDT-PERP.BINANCE", "5m"),
        "eth_5m_ml_basic": ("ETHUSDT-PERP.BINANCE", "5m"),
        "btc_spot_15m_ml_basic": ("BTCUSDT.BINANCE", "15m"),
        "eth_5m_ml_adaptive": ("ETHUSDT-PERP.BINANCE", "5m"),
        "eth_15m_momentum_leverage": ("ETHUSDT-PERP.BINANCE", "15m"),
        "btc_5m_ensemble_weighted": ("BTCUSDT-PERP.BINANCE", "5m"),
        "btc_meta_label": ("BTCUSDT-PERP.BINANCE", "1m"),
        "btc_15m_ml_sentiment": ("BTCUSDT.BINANCE", "15m"),
        "btc_ticks_scalper": ("BTCUSDT-PERP.BINANCE", "1s"),
        "portfolio_1m": ("BTCUSDT-PERP.BINANCE", "1m"),
    }


def test_only_the_demo_is_synthetic_and_no_file_means_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [p.stem for p in RUN_FILES if load_run(p).data.synthetic is not None] == ["demo"]
    monkeypatch.chdir("/")
    assert load_run(None) == load_run(PROJECT_ROOT / "configs/runs/demo.yaml")


# --- what the YAML means ---------------------------------------------------------------------------------


def test_defaults_fill_what_a_small_file_leaves_out(run_file: Path) -> None:
    run = load_run(run_file)
    assert run.data.catalog == Path("data/x")
    assert run.data.start.isoformat() == "2025-01-01T00:00:00+00:00"
    assert (run.venue.funding, run.data.max_gap_minutes) == ("auto", 180)
    assert run.models[0].bundle is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("no", "no"),
        ("010", 10),
        ("100_000", 100_000),
        ("-7", -7),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("1_0.5", 10.5),
        ("12:30:00", "12:30:00"),
        ("2025-01-01", "2025-01-01"),
        ("'1'", "1"),
        ("true", True),
        ("~", None),
        ("", None),
        ("[1, {a: b}]", [1, {"a": "b"}]),
        (".nan", ".nan"),
        ("1e999", "1e999"),
        ("0x10", "0x10"),
    ],
)
def test_a_plain_scalar_is_what_it_looks_like(run_file: Path, text: str, value: object) -> None:
    run = load_run(run_file, [f"strategies.0.signal.x={text}"])
    assert run.strategies[0].signal["x"] == value
    assert type(run.strategies[0].signal["x"]) is type(value)


def test_funding_off_is_the_word_and_not_false(run_file: Path) -> None:
    assert load_run(run_file, ["venue.funding=off"]).venue.funding == "off"


def test_a_home_folder_is_expanded_and_a_relative_path_stays(
    run_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/quant")
    run = load_run(run_file, ["data.catalog=~/bars", "models.0.bundle=artifacts/b"])
    assert run.data.catalog == Path("/home/quant/bars")
    assert run.models[0].bundle == Path("artifacts/b")


def test_times_are_utc_whatever_zone_they_are_written_in(run_file: Path) -> None:
    run = load_run(run_file, ["data.start=2025-01-01T01:00+02:00"])
    assert run.data.start.isoformat() == "2024-12-31T23:00:00+00:00"


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert load_run(_write(tmp_path, b"\xef\xbb\xbf" + MINIMAL.encode())).name == "small"


# --- files that cannot be read ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("name: a\n  b: [1\n", ":2:4", "broken YAML: mapping values are not allowed"),
        ("name: [1, 2\n", ":2:1", "broken YAML"),
        ("name: a\nseed: 1\nname: b\n", ":3:1", "key 'name' is given twice (first in line 1)"),
        ("a: {b: 1, b: 2}\n", ":1:11", "key 'b' is given twice"),
        ("name: &x a\nseed: *x\n", ":1:7", "aliases"),
        ("a: &a [*a]\n", ":1:4", "aliases"),
        ("name: !!python/object/apply:os.system [ls]\n", ":1:7", "tags"),
        ("? [1, 2]\n: x\n", ":1:3", "a key must be one plain word"),
        ("? {a: 1}\n: x\n", ":1:3", "a key must be one plain word"),
        ("name: a\n---\nname: b\n", ":2:1", "single document"),
        ("name: a\nseed: \x00\n", ":2:7", "special characters are not allowed"),
        ("\tname: a\n", ":1:1", "broken YAML"),
        ("", "", "the file is empty"),
        ("# nothing\n", "", "the file is empty"),
        ("- a\n- b\n", "", "the top level must be a mapping of settings, got a list"),
        ("abc\n", "", "the top level must be a mapping of settings, got 'abc'"),
        (b"name: \xff\xfe\n", "", "not a text file (byte 6 is not UTF-8)"),
        ("a: " + "[" * 5000, "", "nested too deeply"),
    ],
)
def test_a_broken_file_is_one_line_with_its_place(
    tmp_path: Path, text: str | bytes, where: str, what: str
) -> None:
    path = _write(tmp_path, text)
    message = _error(path)
    assert message.startswith(f"{path}{where}: ")
    assert what in message


def test_a_missing_file_names_the_nearest_run_file(tmp_path: Path) -> None:
    message = _error(tmp_path / "btc_ml_basik.yaml")
    assert message.endswith("no such run file; did you mean configs/runs/btc_ml_basic.yaml?")
    assert _error(tmp_path / "qqqqqqq").endswith("no such run file; run files are in configs/runs")


def test_a_folder_or_an_impossible_name_is_refused(tmp_path: Path) -> None:
    assert _error(tmp_path).endswith("cannot be read: Is a directory")
    assert "cannot be read" in _error(Path("a\0b"))


# --- files that say something wrong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("pct: 2.0", "pct: abc", "strategies.0.stop.pct: input should be a valid number, got 'abc'"),
        ("pct: 2.0", "pct: '2'", "strategies.0.stop.pct: input should be a valid number, got '2'"),
        ("pct: 2.0", "pct: true", "strategies.0.stop.pct: input should be a valid number, got true"),
        ("pct: 2.0", "pct: -1", "strategies.0.stop.pct: input should be greater than 0, got -1"),
        ("pct: 2.0", "pct: .inf", "strategies.0.stop.pct: input should be a valid number, got '.inf'"),
        ("pct: 2.0", "pct:", "strategies.0.stop.pct: input should be a valid number, got nothing"),
        ("pct: 2.0", "pc: 1", "unknown key strategies.0.stop.pc; did you mean strategies.0.stop.pct?"),
        ("{pct: 2.0}", "2.0", "strategies.0.stop: input should be a mapping of settings, got 2.0"),
        ("stop:", "stopp:", "unknown key strategies.0.stopp; did you mean strategies.0.stop?"),
        ("catalog:", "katalog:", "unknown key data.katalog; did you mean data.catalog? (and 1 more)"),
        ("[{name: direction}]", "[{name: direction, label: {horizon: 3}}]",
         "unknown key models.0.label.horizon; did you mean models.0.label.horizon_bars?"),
        ("name: small", "name: small\nzzzz: 1", "unknown key zzzz; known here: name, seed, data, models,"),
        ("name: small", "", "name: missing; add it"),
        ("name: small", "name: ../x", "name: use letters, digits,"),
        ("name: small", "name: 7", "name: input should be a valid string, got 7"),
        ("name: small", "name: small\nseed: 1.5", "seed: input should be a valid integer"),
        ("name: small", "name: small\nseed: -1", "seed: input should be greater than or equal to 0, got -1"),
        ("[{name: direction}]", "{name: direction}", "models: input should be a list"),
        ("end: 2025-01-03", "end: 2024-01-03", "data: needs start < test_start < end, got 2025-01-01T00:00"),
        ("end: 2025-01-03", "end: 2025-02-30", "data.end: write a UTC date or time such as"),
        ("end: 2025-01-03", "end: 20250103", "data.end: write a UTC date or time such as"),
        ("end: 2025-01-03", "end: 0001-01-01T00:00+05:00", "data.end: the year must lie between 1970 and"),
        ("end: 2025-01-03", "end: 2025-01-03, bar: 2m", "data.bar: input should be '1s', '1m', '3m', '5m'"),
        ("data/x", "''", "data.catalog: name a folder"),
        ("model: direction", "model: other", "asks for model 'other'; known: direction"),
        ("BTCUSDT-PERP.BINANCE", "BTCUSDT", "strategies.0.instrument: write BTCUSDT-PERP.BINANCE for"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line_with_file_key_and_remedy(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in MINIMAL
    path = _write(tmp_path, MINIMAL.replace(old, new, 1))
    assert _error(path).startswith(f"{path}: ")
    assert expected in _error(path)


def test_several_mistakes_give_the_first_and_their_count(tmp_path: Path) -> None:
    text = MINIMAL.replace("pct: 2.0", "pct: abc").replace("catalog: data/x", "catalog: 1, bar: 9m")
    assert _error(_write(tmp_path, text)).endswith(
        "data.catalog: input should be a valid string, got 1 (and 2 more)"
    )


def test_an_empty_list_of_strategies_is_refused(run_file: Path) -> None:
    assert _error(run_file, "strategies=[]") == "--set: strategies: needs at least one entry"


# --- --set -----------------------------------------------------------------------------------------------


def test_the_last_override_wins_and_lists_go_by_index(run_file: Path) -> None:
    run = load_run(run_file, ["strategies.0.stop.pct=1", "strategies.0.stop.pct = 1.5"])
    assert run.strategies[0].stop.pct == 1.5


def test_a_key_in_an_absent_group_makes_the_group(run_file: Path) -> None:
    run = load_run(run_file, ["data.synthetic.signal_strength=0.5", "models.0.label.horizon_bars=3"])
    assert run.data.synthetic is not None
    assert run.data.synthetic.signal_strength == 0.5
    assert run.models[0].label.horizon_bars == 3


def test_null_removes_an_optional_group_and_a_value_may_be_a_mapping(run_file: Path) -> None:
    trailing = "strategies.0.trailing={activation_pct: 1, distance_pct: 0.5}"
    assert load_run(run_file, [trailing]).strategies[0].trailing is not None
    assert load_run(run_file, [trailing, "strategies.0.trailing=null"]).strategies[0].trailing is None


def test_a_value_may_hold_equals_signs(run_file: Path) -> None:
    assert load_run(run_file, ["strategies.0.signal.rule='a=b=c'"]).strategies[0].signal["rule"] == "a=b=c"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed", "--set seed: write key=value, for example strategies.0.stop.pct=1.5"),
        ("=1", "--set =1: write key=value"),
        ("strategies.0.stop.pc=1", "unknown key strategies.0.stop.pc; did you mean strategies.0.stop.pct?"),
        ("strategy.0.stop.pct=1", "unknown key strategy; did you mean strategies?"),
        ("venue.slipage_bps=1", "unknown key venue.slipage_bps; did you mean venue.slippage_bps?"),
        ("seed.x=1", "unknown key seed.x: seed is one value and has no keys"),
        ("data..bar=1m", "unknown key data."),
        ("strategies.1.stop.pct=1", "strategies has no entry 1 (it has 1, indices 0 to 0)"),
        ("strategies.-1.name=x", "strategies is a list; use an index such as strategies.0"),
        ("strategies.first.name=x", "strategies is a list; use an index such as strategies.0"),
        ("strategies.1=x", "strategies has no entry 1"),
        ("strategies.0.stop.pct=[1", "--set strategies.0.stop.pct:1:3: broken YAML"),
        (
            "strategies.0.stop.pct=abc",
            "--set: strategies.0.stop.pct: input should be a valid number, got 'abc'",
        ),
        ("strategies.0.stop={pc: 1}", "--set: unknown key strategies.0.stop.pc; did you mean"),
        ("data.end=2020-01-01", "with --set: data: needs start < test_start < end"),
        (
            "strategies.0.trailing.activation_pct=1",
            "strategies.0.trailing: give either distance_pct or distance_atr",
        ),
    ],
)
def test_a_wrong_override_is_one_line(run_file: Path, override: str, expected: str) -> None:
    assert expected in _error(run_file, override)


def test_an_override_below_a_value_that_is_no_group_is_refused(run_file: Path) -> None:
    assert _error(run_file, "models=5", "models.0.name=x") == "--set models.0.name: models is 5, not a group"
    no_models = "models.0: models has no entry 0 (it is empty)"
    assert _error(run_file, "models=[]", "models.0.name=x") == f"--set {no_models}"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner),
    max_leaves=6,
)  # fmt: skip


@SMALL_BUT_DEEP
@given(value=JSON_VALUES)
def test_any_json_value_set_is_the_value_read(value: Any) -> None:
    run = load_run(None, [f"strategies.0.signal.x={json.dumps(value)}"])
    assert run.strategies[0].signal["x"] == value


@SMALL_BUT_DEEP
@given(pct=st.floats(1e-6, 1e6), days=st.integers(1, 3650))
def test_numbers_survive_set_bit_for_bit(pct: float, days: int) -> None:
    run = load_run(None, [f"strategies.0.targets.pct={pct!r}", f"data.synthetic.days={days}"])
    assert run.data.synthetic is not None
    assert (run.strategies[0].targets.pct, run.data.synthetic.days) == (pct, days)


@SMALL_BUT_DEEP
@given(override=st.text(max_size=40))
def test_no_override_whatever_ends_in_anything_but_a_run_or_one_line(override: str) -> None:
    try:
        run = load_run(None, [override])
    except ConfigError:
        return
    assert isinstance(run, RunConfig)


@SMALL_BUT_DEEP
@given(text=st.text(max_size=80) | st.binary(max_size=80).map(lambda raw: raw.decode("latin-1")))
def test_no_file_whatever_ends_in_anything_but_one_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = _write(tmp_path_factory.getbasetemp(), text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError):
        load_run(path)


# --- hash and dump ---------------------------------------------------------------------------------------


def _shuffled(value: Any, order: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shuffled(value[key], order) for key in order(sorted(value))}
    return [_shuffled(entry, order) for entry in value] if isinstance(value, list) else value


@SMALL_BUT_DEEP
@given(data=st.data())
def test_the_hash_does_not_depend_on_the_order_of_keys(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    run = load_run(None)
    tree = _shuffled(yaml.safe_load(dump_config(run)), lambda keys: data.draw(st.permutations(keys)))
    again = load_run(_write(tmp_path_factory.getbasetemp(), yaml.safe_dump(tree, sort_keys=False)))
    assert config_hash(again) == config_hash(run)


def test_the_hash_ignores_where_the_data_lies_and_the_live_addresses_and_nothing_else(run_file: Path) -> None:
    base = config_hash(load_run(run_file))
    same = ["data.catalog=elsewhere", "live.base_url_http=http://127.0.0.1:1", "seed=7", "venue.leverage=5.0"]
    other = ["seed=8", "data.end=2025-01-04", "strategies.0.signal.x=1", "venue.leverage=4", "name=y"]
    assert re.fullmatch("[0-9a-f]{64}", base)
    assert {config_hash(load_run(run_file, [override])) for override in same} == {base}
    assert len({config_hash(load_run(run_file, [override])) for override in other} | {base}) == 6


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda p: p.stem)
def test_a_shipped_run_dumped_and_loaded_is_equal(path: Path, tmp_path: Path) -> None:
    run = load_run(path)
    again = load_run(_write(tmp_path, dump_config(run)))
    assert again == run
    assert config_hash(again) == config_hash(run)
    assert dump_config(again) == dump_config(run)


@SMALL_BUT_DEEP
@given(value=JSON_VALUES, name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True))
def test_any_run_dumped_and_loaded_is_equal(
    tmp_path_factory: pytest.TempPathFactory, value: Any, name: str
) -> None:
    run = load_run(None, [f"strategies.0.signal.x={json.dumps(value)}", f"name='{name}'"])
    again = load_run(_write(tmp_path_factory.getbasetemp(), dump_config(run)))
    assert again == run
    assert config_hash(again) == config_hash(run)


@pytest.mark.parametrize("name", ["1e5", "1.", "010", "off", "null", "0x1f", "1_000", "2025-01-01"])
def test_a_name_that_looks_like_a_number_stays_a_name(run_file: Path, tmp_path: Path, name: str) -> None:
    run = load_run(run_file, [f"name='{name}'"])
    assert load_run(_write(tmp_path, dump_config(run))).name == name
