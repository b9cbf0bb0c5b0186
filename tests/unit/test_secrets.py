"""Secrets come from three places, are shown nowhere, and never from a run file."""

from pathlib import Path

import pytest
import yaml

from configs.errors import ConfigError
from configs.load import dump_config, load_run, secrets


def _error(path: Path | None, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_run(path, overrides)
    return str(caught.value)


KEY, SECRET = "K3y" + "a" * 40, "S3cret" + "b" * 40


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("BINANCE_API_KEY", "BINANCE_API_SECRET", "SEXTANT_SECRETS_DIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def _values(root: Path) -> tuple[str, str]:
    key, secret = secrets(root).require()
    return key.get_secret_value(), secret.get_secret_value()


def test_secrets_come_from_the_environment_then_env_file_then_directory(
    tmp_path: Path, clean_environment: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "BINANCE_API_KEY").write_text("dir-key\n")
    (tmp_path / "secrets" / "binance_api_secret").write_text("dir-secret")
    assert _values(tmp_path) == ("dir-key", "dir-secret")
    (tmp_path / ".env").write_text("BINANCE_API_KEY=file-key\nOTHER=1\n")
    assert _values(tmp_path) == ("file-key", "dir-secret")
    clean_environment.setenv("BINANCE_API_KEY", KEY)
    assert _values(tmp_path) == (KEY, "dir-secret")


def test_another_secrets_directory_can_be_named_and_must_exist(
    tmp_path: Path, clean_environment: pytest.MonkeyPatch
) -> None:
    (tmp_path / "binance_api_key").write_text(KEY)
    (tmp_path / "binance_api_secret").write_text(SECRET)
    clean_environment.setenv("SEXTANT_SECRETS_DIR", str(tmp_path))
    assert _values(tmp_path / "nowhere") == (KEY, SECRET)
    clean_environment.setenv("SEXTANT_SECRETS_DIR", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match=r"SEXTANT_SECRETS_DIR: .*absent is not a directory"):
        secrets(tmp_path)


def test_a_missing_secret_is_named_and_never_its_neighbour_shown(
    tmp_path: Path, clean_environment: pytest.MonkeyPatch
) -> None:
    assert secrets(tmp_path).binance_api_key is None
    clean_environment.setenv("BINANCE_API_KEY", KEY)
    clean_environment.setenv("BINANCE_API_SECRET", "")
    with pytest.raises(ConfigError) as caught:
        secrets(tmp_path).require()
    assert str(caught.value).startswith("BINANCE_API_SECRET is not set")
    assert KEY not in str(caught.value)


def test_an_env_file_that_is_not_text_is_refused(
    tmp_path: Path, clean_environment: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_bytes(b"BINANCE_API_KEY=\xff\xfe\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        secrets(tmp_path)


def test_secrets_are_never_shown(tmp_path: Path, clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("BINANCE_API_KEY", KEY)
    clean_environment.setenv("BINANCE_API_SECRET", SECRET)
    found = secrets(tmp_path)
    for shown in (
        repr(found),
        str(found),
        f"{found.binance_api_key}",
        found.model_dump_json(),
        str(vars(found)),
    ):
        assert KEY not in shown
        assert SECRET not in shown


@pytest.mark.parametrize(
    "key",
    [
        "api_key",
        "apiKey",
        "API-KEY",
        "secret",
        "api_secret",
        "password",
        "token",
        "binance_api_secret",
        "accessToken",
    ],
)
@pytest.mark.parametrize("where", ["", "strategies.0.signal.", "live."])
def test_a_key_in_a_run_file_is_refused_with_advice_and_not_repeated(
    tmp_path: Path, key: str, where: str
) -> None:
    message = _error(None, f"strategies.0.signal={{deep: [{{{key}: {KEY}}}]}}")
    assert f"strategies.0.signal.deep.0.{key}: keys never belong in a run file" in message
    text = yaml.safe_load(dump_config(load_run(None)))
    holder = text
    for part in where.split(".")[:-1]:
        holder = holder[int(part)] if part.isdigit() else holder.setdefault(part, {})
    holder[key] = KEY
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(text))
    assert _error(path).startswith(f"{path}: {where}{key}: keys never belong in a run file")
    assert KEY not in message + _error(path)


def test_a_value_shaped_like_a_venue_key_is_refused_and_a_hash_is_not() -> None:
    shaped = "aB3" + "x" * 61
    assert "keys never belong" in _error(None, f"strategies.0.signal.note={shaped}")
    load_run(None, [f"strategies.0.signal.note={'0a' * 32}"])
