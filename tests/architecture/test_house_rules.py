"""The house rules hold for every file that exists, and the checker notices when one is broken."""

from pathlib import Path

import pytest

from tests.architecture.checks import MAX_FILE_LINES, PACKAGES, RULES, file_sizes, read_sources

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_packages_keep_the_rule(rule: str) -> None:
    sources = read_sources(ROOT)
    assert {source.package for source in sources} == set(PACKAGES)
    assert RULES[rule](sources) == []


def test_tests_and_benchmarks_keep_files_short() -> None:
    assert file_sizes(read_sources(ROOT, ("tests", "benchmarks", "notebooks"))) == []


LONG_FUNCTION = "def f():\n" + "    x = 1\n" * 60

BROKEN = [
    ("direction", "catalog/x.py", "import models.train"),
    ("direction", "configs/x.py", "def f():\n    from catalog.store import Catalog"),
    ("direction", "strategies/x.py", "from backtests import venue"),
    ("direction", "backtests/x.py", "import live.node"),
    ("direction", "live/x.py", "from backtests.run import main"),
    ("direction", "models/sub/x.py", "from ... import actors"),
    ("pure_models", "models/x.py", "import nautilus_trader.model as m"),
    ("pure_models", "models/train.py", "from nautilus_trader import model"),
    ("pure_models", "models/x.py", "from catalog.store import Catalog"),
    ("pure_decisions", "strategies/risk.py", "import nautilus_trader"),
    ("pure_decisions", "strategies/trade.py", "from nautilus_trader.model import Bar"),
    ("pure_decisions", "strategies/breakout.py", "import nautilus_trader\ndef decide(view, params): ..."),
    ("sole_submitter", "strategies/ml_basic.py", "def f(s, o):\n    s.submit_order(o)"),
    ("sole_submitter", "actors/x.py", "def f(s, o):\n    s.cancel_all_orders(o)"),
    ("sole_environment_reader", "actors/x.py", "import os\nx = os.environ['A']"),
    ("sole_environment_reader", "catalog/x.py", "import os as o\nx = o.getenv('A')"),
    ("sole_environment_reader", "catalog/x.py", "from os import environ as e"),
    ("sole_environment_reader", "configs/schema.py", "from pydantic_settings import BaseSettings"),
    ("safe_calls", "models/x.py", "import pickle"),
    ("safe_calls", "models/x.py", "from joblib import dump"),
    ("safe_calls", "models/x.py", "x = eval('1')"),
    ("safe_calls", "models/x.py", "exec('x = 1')"),
    ("safe_calls", "models/x.py", "print('x')"),
    ("safe_calls", "models/x.py", "import numpy as np\nx = np.load('x', allow_pickle=True)"),
    ("file_sizes", "models/x.py", "\n" * (MAX_FILE_LINES + 1)),
    ("function_sizes", "models/x.py", LONG_FUNCTION),
]


def _plant(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_a_planted_violation_is_found_by_its_rule_and_by_no_other(
    tmp_path: Path, rule: str, path: str, text: str
) -> None:
    _plant(tmp_path, path, text)
    sources = read_sources(tmp_path)
    broken = {name: found for name, check in RULES.items() if (found := check(sources))}
    assert set(broken) == {rule}
    assert broken[rule][0].startswith(path)


def test_a_decision_that_reaches_the_engine_through_another_file_is_found(tmp_path: Path) -> None:
    _plant(
        tmp_path, "strategies/mine.py", "from strategies.values import View\ndef decide(view, params): ..."
    )
    _plant(tmp_path, "strategies/values.py", "from strategies import deep")
    _plant(tmp_path, "strategies/deep.py", "import nautilus_trader.model")
    assert RULES["pure_decisions"](read_sources(tmp_path)) == [
        "strategies/mine.py reaches nautilus_trader at strategies/deep.py:1"
    ]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("models/train.py", "from catalog.store import Catalog\nfrom configs import schema"),
        ("strategies/orders.py", "import nautilus_trader\ndef f(s, o):\n    s.submit_order(o)"),
        ("configs/load.py", "import os\nfrom pydantic_settings import BaseSettings\nx = os.environ"),
        ("live/x.py", "from . import node\nfrom strategies import base\nimport os\nx = os.getpid()"),
        ("models/x.py", "def decide(): ...\ndef g(model, x):\n    return model.eval(x)"),
        ("models/x.py", "def f():\n" + "    x = 1\n" * 59),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path: Path, path: str, text: str) -> None:
    _plant(tmp_path, path, text)
    sources = read_sources(tmp_path)
    assert [line for check in RULES.values() for line in check(sources)] == []
