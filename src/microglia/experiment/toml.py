"""Between TOML and the config dataclasses: one walk in each direction, and nothing guessed."""

from __future__ import annotations

import dataclasses
import json
import tomllib
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from microglia.errors import ConfigError, DataError, nearest

Config = TypeVar("Config")


def read_table(path: Path) -> dict[str, Any]:
    """The table in a TOML file.

    Raises:
        DataError: there is no such file, or it cannot be read.
        ConfigError: the file is not TOML; the message has the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"No config file at '{path}'.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the config file '{path}': {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"'{path}' is not valid TOML: {error}.") from None


def from_table(cls: type[Config], table: Mapping[str, Any], *, where: str = "") -> Config:
    """The dataclass `cls` filled from a table; sections are dataclasses in their turn.

    Raises:
        ConfigError: a key is unknown, missing, or of the wrong type; or `cls` refuses the values.
    """
    hints = get_type_hints(cls)
    for key in table:
        if key not in hints:
            raise ConfigError(f"Unknown key '{where}{key}'.{nearest(key, list(hints))}")
    values = {
        key: _value(table[key], hint, where=f"{where}{key}")
        for key, hint in hints.items()
        if key in table
    }
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # Config is always a dataclass
        if field.name not in values and _required(field):
            if not dataclasses.is_dataclass(hints[field.name]):
                raise ConfigError(f"The key '{where}{field.name}' is missing.")
            section = hints[field.name]
            values[field.name] = from_table(section, {}, where=f"{where}{field.name}.")
    return cls(**values)


def keys(cls: type[Any], *, where: str = "") -> Iterator[tuple[str, str]]:
    """Every key of the config: its dotted name, and its type in words."""
    for name, hint in get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            yield from keys(hint, where=f"{where}{name}.")  # type: ignore[arg-type]  # a class
        elif get_origin(hint) is not ClassVar:
            yield f"{where}{name}", _in_words(hint)


def unset_keys(config: Any) -> Iterator[tuple[str, str]]:
    """The keys that are None or empty tables, which `dump` leaves out."""
    for name, words in keys(type(config)):
        value = config
        for part in name.split("."):
            value = getattr(value, part)
        if value is None or value == {}:
            yield name, words


def set_key(table: dict[str, Any], dotted: str, text: str, *, cls: type[Any]) -> None:
    """Put the text of a command-line value at a dotted key, read as the key's type wants it.

    Raises:
        ConfigError: the key is unknown, or the text does not read as its type.
    """
    hint = _hint_of(cls, dotted)
    *sections, key = dotted.split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"'{section}' is a section: write [{section}] and keys below it.")
    table[key] = _read(text, hint, where=dotted)


def dump(config: Any) -> str:
    """The config as TOML that reads back equal. Keys that are None are left out."""
    lines: list[str] = []
    _dump_section(dataclasses.asdict(config), "", lines)
    return "\n".join(lines).strip() + "\n"


def plain(config: Any) -> dict[str, Any]:
    """The config as the table that a TOML file of it would be."""
    return tomllib.loads(dump(config))


def _dump_section(table: Mapping[str, Any], path: str, lines: list[str]) -> None:
    plain = {k: v for k, v in table.items() if not isinstance(v, Mapping) and v is not None}
    if plain and path:
        lines += ["", f"[{path}]"]
    lines += [f"{_toml_key(key)} = {_toml_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, Mapping):
            _dump_section(value, f"{path}.{_toml_key(key)}" if path else _toml_key(key), lines)


def _toml_key(key: str) -> str:
    bare = key.replace("-", "").replace("_", "")
    return key if bare.isascii() and bare.isalnum() else json.dumps(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        # A JSON string is a TOML basic string but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        pairs = [f"{_toml_key(k)} = {_toml_value(v)}" for k, v in value.items() if v is not None]
        return "{" + ", ".join(pairs) + "}"
    return repr(value)


def _value(value: Any, hint: Any, *, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"'{where}' is a section: write [{where}] and keys below it.")
        return from_table(hint, value, where=f"{where}.")
    options = _options(hint)
    sections = [option for option in options if dataclasses.is_dataclass(option)]
    if sections and isinstance(value, Mapping):
        # Of several kinds of section the one that has most of the keys is meant.
        kind: Any = max(sections, key=lambda one: len(value.keys() & get_type_hints(one).keys()))
        return from_table(kind, value, where=f"{where}.")
    for option in options:
        fitted = _fit(value, option, where=where)
        if fitted is not None:
            return fitted
    raise ConfigError(
        f"'{where}' wants {_in_words(hint)}, got {json.dumps(value, default=str)}."
        f"{_as_list(value, options)}"
    )


def _as_list(value: Any, options: tuple[Any, ...]) -> str:
    """The hint for a word in the place of a list of words; a number may be half of a pair."""
    items = [get_args(option)[0] for option in options if get_origin(option) is tuple]
    if not isinstance(value, str) or str not in items:
        return ""
    return f" Write {_toml_value([value])}."


def _fit(value: Any, hint: Any, *, where: str) -> Any:
    """The value as the type `hint`, or None where it is of another."""
    origin = get_origin(hint) or hint
    if origin is Any:
        return value
    if origin is Literal:
        return value if isinstance(value, str) else None
    if dataclasses.is_dataclass(hint):
        return None
    if origin is bool or isinstance(value, bool):
        return value if origin is bool and isinstance(value, bool) else None
    if origin is float:
        return float(value) if isinstance(value, (int, float)) else None
    if origin is tuple:
        if not isinstance(value, list):
            return None
        item = get_args(hint)[0]
        return tuple(_value(v, item, where=f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            return None
        item = get_args(hint)[1]
        return {k: _value(v, item, where=f"{where}.{k}") for k, v in value.items()}
    return value if isinstance(value, origin) else None


def _read(text: str, hint: Any, *, where: str) -> Any:
    options = _options(hint)
    if str in options or any(get_origin(option) is Literal for option in options):
        return text
    if len(options) == 1 and get_origin(options[0]) is tuple and not text.lstrip().startswith("["):
        items = [part.strip() for part in text.split(",") if part.strip()]
        return [_read(item, get_args(options[0])[0], where=where) for item in items]
    try:
        # A line break would let the text set other keys.
        return tomllib.loads(f"value = {' '.join(text.splitlines())}")["value"]
    except tomllib.TOMLDecodeError:
        if Any in options:
            return text
        raise ConfigError(f"'{where}' wants {_in_words(hint)}, got '{text}'.") from None


def _hint_of(cls: type[Any], dotted: str) -> Any:
    hint: Any = cls
    walked: list[str] = []
    for key in dotted.split("."):
        kinds = [option for option in _options(hint) if dataclasses.is_dataclass(option)]
        if kinds:
            hints = {k: v for kind in reversed(kinds) for k, v in get_type_hints(kind).items()}
            if key not in hints:
                known = [name for name, _ in keys(cls)]
                raise ConfigError(f"Unknown key '{dotted}'.{nearest(dotted, known)}")
            hint = hints[key]
        elif get_origin(hint) is dict:
            hint = get_args(hint)[1]
        else:
            raise ConfigError(f"Unknown key '{dotted}': '{'.'.join(walked)}' is not a section.")
        walked.append(key)
    if dataclasses.is_dataclass(hint):
        raise ConfigError(f"'{dotted}' is a section; name one of its keys, e.g. '{dotted}.…'.")
    return hint


def _options(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(option for option in get_args(hint) if option is not type(None))
    return (hint,)


def _in_words(hint: Any) -> str:
    return " or ".join(_word(option) for option in _options(hint))


def _word(hint: Any) -> str:
    origin = get_origin(hint) or hint
    if origin is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if dataclasses.is_dataclass(hint):
        return "a section"
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    if origin is tuple:
        return f"a list ({_in_words(get_args(hint)[0])} each)"
    if origin is dict:
        return "a table"
    return words.get(origin, "a value")


def _required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing
