"""From a run file to a validated `RunConfig`, its hash and its YAML; the only reader of the environment.

The YAML read here is the plain part of the language (version 1.2's core). `off`, `no` and dates stay
text for the schema to judge; anchors, tags and a key given twice are refused.
"""

import difflib
import hashlib
import json
import math
import os
import re
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Union

import yaml
from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from configs.errors import ConfigError
from configs.groups import Group
from configs.schema import RunConfig

__all__ = ["PROJECT_ROOT", "Secrets", "config_hash", "dump_config", "load_run", "secrets"]

PROJECT_ROOT = Path(__file__).resolve().parents[1]

_DEMO = Path("configs", "runs", "demo.yaml")
_SECRETS_DIR_VARIABLE = "SEXTANT_SECRETS_DIR"
_SECRETS_ADVICE = (
    "keys never belong in a run file: put BINANCE_API_KEY and BINANCE_API_SECRET in the environment, "
    "in .env or in the secrets directory"
)
_SECRET_NAME = re.compile(
    r"(^|_)(api_?keys?|keys?_api|secrets?|passwords?|passphrase|tokens?|private_?key)(_|$)"
)
_SECRET_VALUE = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9]{64}")

_NULLS = {"", "~", "null", "Null", "NULL"}
_TRUE, _FALSE = {"true", "True", "TRUE"}, {"false", "False", "FALSE"}
_INTEGER = re.compile(r"[-+]?[0-9]+(_[0-9]+)*")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(_[0-9]+)*(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}
_LONGEST_NUMBER = 40

type _Path = tuple[str, ...]


def load_run(path: Path | None, overrides: Sequence[str] = ()) -> RunConfig:
    """Read one run file, apply `--set` overrides and validate the whole.

    Args:
        path: the run file; None means the demo that ships with the project.
        overrides: `dotted.key=value` texts, the value in YAML; list entries by index, as in
            `strategies.0.stop.pct=1.5`. A later one wins. A key in an absent optional group makes it.

    Returns:
        The frozen run. `~` in paths is expanded; relative paths stay relative to the working directory.

    Raises:
        ConfigError: one line saying file, key and remedy, whatever is wrong with the file or an override.
    """
    source, shown = (PROJECT_ROOT / _DEMO, str(_DEMO)) if path is None else (path, str(path))
    raw = _parse(_read(source, shown), shown)
    if raw is None:
        raise ConfigError(f"{shown}: the file is empty; a run needs at least name, data and strategies")
    if not isinstance(raw, dict):
        raise ConfigError(f"{shown}: the top level must be a mapping of settings, got {_kind(raw)}")
    _refuse_secrets(raw, shown)
    set_paths = [_apply(raw, override) for override in overrides]
    _refuse_secrets(raw, "--set")
    _expand_paths(raw, shown)
    try:
        # Strict JSON rules: a number is not text, true is not 1; lists and ISO times still convert.
        return RunConfig.model_validate_json(json.dumps(raw), strict=True)
    except ValidationError as error:
        raise ConfigError(_first_error(error, shown, set_paths)) from None


def config_hash(run: RunConfig) -> str:
    """sha256 (hex) of the resolved run without where its data lies and without the live addresses.

    Equal runs have equal hashes, in whatever order their keys were written and whichever defaults were
    spelled out.
    """
    resolved = run.model_dump(mode="json", exclude={"data": {"catalog"}, "live": True})
    text = json.dumps(resolved, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def dump_config(run: RunConfig) -> str:
    """The resolved run as YAML, every default spelled out; `load_run` reads it back to an equal run."""
    resolved = run.model_dump(mode="json")
    return yaml.dump(resolved, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class Secrets(BaseSettings):
    """Keys of the venue; shown nowhere, `get_secret_value()` alone reveals them."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    binance_api_key: SecretStr | None = None
    binance_api_secret: SecretStr | None = None

    def require(self) -> tuple[SecretStr, SecretStr]:
        """Key and secret, or a ConfigError saying which is missing and where it belongs."""
        if self.binance_api_key is None or self.binance_api_secret is None:
            missing = "BINANCE_API_KEY" if self.binance_api_key is None else "BINANCE_API_SECRET"
            raise ConfigError(
                f"{missing} is not set: put it in the environment, .env or the secrets directory"
            )
        return self.binance_api_key, self.binance_api_secret


def secrets(root: Path = PROJECT_ROOT) -> Secrets:
    """Read the secrets: the environment first, then `.env`, then one file a secret in the secrets directory.

    Args:
        root: where `.env` and `secrets/` are looked for; SEXTANT_SECRETS_DIR names another secrets directory.

    Raises:
        ConfigError: SEXTANT_SECRETS_DIR is not a directory, or a file of secrets cannot be read.
    """
    named = os.environ.get(_SECRETS_DIR_VARIABLE)
    directory = Path(named).expanduser() if named else root / "secrets"
    if named and not directory.is_dir():
        raise ConfigError(f"{_SECRETS_DIR_VARIABLE}: {directory} is not a directory")
    env_file = root / ".env"
    try:
        return Secrets(
            _env_file=env_file if env_file.is_file() else None,
            _env_file_encoding="utf-8",
            _secrets_dir=directory if directory.is_dir() else None,
        )
    except OSError as error:
        raise ConfigError(f"{error.filename or root}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{env_file} or a file in {directory} is not UTF-8 text") from None


# --- YAML ------------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Quotes every text which the reader below would take for a number; writes no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(f"^(?:{_FLOAT.pattern})$"), list("-+.0123456789")
)


def _read(source: Path, shown: str) -> str:
    try:
        return source.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = difflib.get_close_matches(
            source.name, [p.name for p in (PROJECT_ROOT / _DEMO.parent).glob("*.yaml")], n=1
        )
        hint = f"; did you mean {_DEMO.parent / near[0]}?" if near else f"; run files are in {_DEMO.parent}"
        raise ConfigError(f"{shown}: no such run file{hint}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown}: not a text file (byte {error.start} is not UTF-8)") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{shown}: cannot be read: {reason}") from None


def _parse(text: str, shown: str) -> Any:
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
        return None if node is None else _plain(node, shown, set())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{shown}:{mark.line + 1}:{mark.column + 1}" if mark else shown
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{at}: broken YAML: {problem}") from None
    except yaml.reader.ReaderError as error:
        before = text[: int(error.position)]
        at = f"{shown}:{before.count('\n') + 1}:{len(before) - before.rfind('\n')}"
        raise ConfigError(f"{at}: broken YAML: {error.reason}") from None
    except RecursionError:
        raise ConfigError(f"{shown}: broken YAML: nested too deeply") from None


def _plain(node: yaml.Node, shown: str, seen: set[int]) -> Any:
    """The plain value of a YAML node; `seen` holds the nodes already used, so an alias is noticed."""
    at = f"{shown}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
    if id(node) in seen:
        raise ConfigError(f"{at}: YAML anchors and aliases are not used in run files; write the value out")
    seen.add(id(node))
    if node.tag not in _PLAIN_TAGS:
        raise ConfigError(f"{at}: YAML tags are not used in run files; remove {node.tag.split(':')[-1]!r}")
    if isinstance(node, yaml.MappingNode):
        return _plain_mapping(node, shown, seen)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, shown, seen) for child in node.value]
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError(f"{at}: unknown YAML")
    return node.value if node.style else _scalar(node.value)


def _plain_mapping(node: yaml.MappingNode, shown: str, seen: set[int]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    first: dict[str, int] = {}
    for key, value in node.value:
        at = f"{shown}:{key.start_mark.line + 1}:{key.start_mark.column + 1}"
        if not isinstance(key, yaml.ScalarNode) or key.value == "":
            raise ConfigError(f"{at}: a key must be one plain word")
        if key.value in mapping:
            raise ConfigError(f"{at}: key '{key.value}' is given twice (first in line {first[key.value]})")
        mapping[key.value] = _plain(value, shown, seen)
        first[key.value] = key.start_mark.line + 1
    return mapping


def _scalar(text: str) -> Any:
    """YAML 1.2's plain scalars. What is no finite number stays text, for the schema to refuse by name."""
    if text in _NULLS:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if len(text) <= _LONGEST_NUMBER:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
            return number
    return text


# --- overrides, paths, secrets in the raw mapping --------------------------------------------------


def _apply(raw: dict[str, Any], override: str) -> _Path:
    """Write one `--set key=value` into the raw mapping; the path that was set."""
    dotted, equals, text = override.partition("=")
    dotted = dotted.strip()
    if not equals or not dotted:
        raise ConfigError(
            f"--set {dotted or override}: write key=value, for example strategies.0.stop.pct=1.5"
        )
    path = tuple(dotted.split("."))
    _check_known(path)
    value = _parse(text, f"--set {dotted}")
    holder: Any = raw
    for depth, part in enumerate(path[:-1]):
        if isinstance(holder, dict):
            if holder.get(part) is None:
                holder[part] = [] if _is_list(path[: depth + 1]) else {}
            holder = holder[part]
        else:
            holder = holder[_index(holder, part, path[: depth + 1])]
        if not isinstance(holder, dict | list):
            raise ConfigError(
                f"--set {dotted}: {'.'.join(path[: depth + 1])} is {_kind(holder)}, not a group"
            )
    if isinstance(holder, dict):
        holder[path[-1]] = value
    else:
        holder[_index(holder, path[-1], path)] = value
    return path


def _index(entries: list[Any], part: str, path: _Path) -> int:
    where = ".".join(path[:-1])
    if not part.isascii() or not part.isdigit():
        raise ConfigError(f"--set {'.'.join(path)}: {where} is a list; use an index such as {where}.0")
    if len(part) > _LONGEST_NUMBER or int(part) >= len(entries):
        count = len(entries)
        range_text = f"it has {count}, indices 0 to {count - 1}" if count else "it is empty"
        raise ConfigError(f"--set {'.'.join(path)}: {where} has no entry {part[:12]} ({range_text})")
    return int(part)


def _check_known(path: _Path) -> None:
    for depth in range(len(path)):
        fields = _fields(path[:depth])
        if fields is not None and path[depth] not in fields:
            raise ConfigError(f"--set: {_unknown_key(path[: depth + 1])}")


def _expand_paths(raw: dict[str, Any], shown: str) -> None:
    groups = [raw.get("data"), *(entries if isinstance(entries := raw.get("models"), list) else ())]
    for group in groups:
        for key in ("catalog", "bundle"):
            if isinstance(group, dict) and str(group.get(key)).startswith("~"):
                try:
                    group[key] = str(Path(group[key]).expanduser())
                except RuntimeError:
                    raise ConfigError(f"{shown}: {key}: no home folder for {group[key]!r}") from None


def _refuse_secrets(raw: Any, shown: str) -> None:
    for path, value in _walk(raw, ()):
        name = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", path[-1]).lower())
        if _SECRET_NAME.search(name) or (isinstance(value, str) and _SECRET_VALUE.fullmatch(value)):
            raise ConfigError(f"{shown}: {'.'.join(path)}: {_SECRETS_ADVICE}")


def _walk(value: Any, path: _Path) -> Iterator[tuple[_Path, Any]]:
    children: Iterator[tuple[str, Any]] | None = None
    if isinstance(value, dict):
        children = iter(value.items())
    elif isinstance(value, list):
        children = ((str(index), child) for index, child in enumerate(value))
    for key, child in children or ():
        yield (*path, key), child
        yield from _walk(child, (*path, key))


# --- what the schema knows at a path ---------------------------------------------------------------


def _annotation(path: _Path) -> Any:
    """The schema's type at a path; Any where a strategy's own parameters begin or the path leads nowhere."""
    current: Any = RunConfig
    for part in path:
        if isinstance(current, type) and issubclass(current, Group):
            if part not in current.model_fields:
                return Any
            current = _bare(current.model_fields[part].annotation)
        elif typing.get_origin(current) is tuple:
            current = _bare(typing.get_args(current)[0])
        else:
            return Any
    return current


def _bare(annotation: Any) -> Any:
    """An annotation without `| None` and `Annotated`."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _bare(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return _bare(next(a for a in typing.get_args(annotation) if a is not type(None)))
    return annotation


def _fields(path: _Path) -> list[str] | None:
    """Names of the keys allowed at a path; None where they are not the schema's to say."""
    found = _annotation(path)
    if isinstance(found, type) and issubclass(found, Group):
        return list(found.model_fields)
    if found is Any or typing.get_origin(found) in (dict, tuple):
        return None
    return []


def _is_list(path: _Path) -> bool:
    return typing.get_origin(_annotation(path)) is tuple


def _unknown_key(path: _Path) -> str:
    known = _fields(path[:-1]) or []
    dotted = ".".join(path)
    if not known:
        return f"unknown key {dotted}: {'.'.join(path[:-1])} is one value and has no keys"
    near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.5)
    if near:
        return f"unknown key {dotted}; did you mean {'.'.join((*path[:-1], near[0]))}?"
    return f"unknown key {dotted}; known here: {', '.join(known)}"


# --- one line from pydantic's report ---------------------------------------------------------------


def _first_error(error: ValidationError, shown: str, set_paths: list[_Path]) -> str:
    # A list whose entries failed is reported as too short as well; that is no second mistake.
    details = [d for d in error.errors(include_url=False) if d["type"] != "too_short" or not d["input"]]
    # An unknown key often explains a missing one, so it is named first.
    details.sort(key=lambda detail: detail["type"] != "extra_forbidden")
    path = tuple(str(part) for part in details[0]["loc"])
    group = path[:-1] if details[0]["type"] == "missing" else path
    if any(path[: len(p)] == p for p in set_paths):
        shown = "--set"
    elif any(p[: len(group)] == group for p in set_paths):
        shown = f"{shown} with --set"
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return f"{shown}: {_describe(details[0], path)}{more}"


def _describe(detail: ErrorDetails, path: _Path) -> str:
    dotted = ".".join(path)
    if detail["type"] == "extra_forbidden":
        return _unknown_key(path)
    if detail["type"] == "missing":
        return f"{dotted}: missing; add it"
    if detail["type"] == "too_short":
        return f"{dotted}: needs at least one entry"
    message = detail["msg"].removeprefix("Value error, ")
    message = (
        message.replace("valid tuple", "list")
        .replace("valid array", "list")
        .replace("valid dictionary", "mapping")
    )
    if detail["type"] in ("model_type", "model_attributes_type"):
        message = "Input should be a mapping of settings"
    message = message[0].lower() + message[1:] if message.startswith("Input") else message
    head = f"{dotted}: {message}" if dotted else message
    return head if isinstance(detail["input"], dict | list) else f"{head}, got {_short(detail['input'])}"


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return _short(value)
