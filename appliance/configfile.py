"""From YAML and environment variables to frozen dataclasses, with errors that name the key and the line.

Owns the mapping of names (snake_case in the code, camelCase in the file, upper case in the environment), the types a
setting may have, and where each value came from. Must not know any particular setting. The text is composed to nodes
and bound by hand, because only nodes know their lines and their duplicates; no object is ever constructed from a YAML
tag.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

FILE_BYTES_MAX: Final = 1_048_576
"""A configuration is a few kilobytes; more is a mistake, a device for example."""

DEPTH_MAX: Final = 20
"""A configuration has a few. Of thousands of brackets the parser would make a second's work."""

ENVIRONMENT_PREFIX: Final = "CODEQ_"
CLIENT_VARIABLES: Final = frozenset(("CODEQ_URL", "CODEQ_TOKEN", "CODEQ_CA", "CODEQ_PROFILE"))
"""What the commands read that talk to a node; they may well be set where a node is started."""

CREDENTIAL_PREFIX: Final = "credential:"
"""A path that begins so is the name of a secret in the service manager's folder, which CREDENTIALS_VARIABLE names."""
CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
_CREDENTIAL_NAME: Final = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,255}")

T = TypeVar("T")

_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9_]*)")


class ConfigError(Exception):
    """A configuration that can't be used: `key` is its path, `line` counts from 1 (0: nowhere in the file)."""

    def __init__(self, key: str, line: int, message: str, source: str = "") -> None:
        place = f"{source}:{line}" if line else source
        super().__init__(": ".join(part for part in (place, key, message) if part))
        self.key = key
        self.line = line
        self.message = message
        self.source = source


def setting(
    *,
    default: Any = MISSING,
    low: int | None = None,
    high: int | None = None,
    length_max: int = 4_096,
    path: bool = False,
    secret: bool = False,
    shorthand: str = "",
) -> Any:
    """A field of a section.

    `low` and `high` bound a number, `length_max` a string or list. A `path` is made absolute, or is a credential's. A
    `secret` is not shown by `repr`. For a list of sections `shorthand` names the one setting that a bare string stands
    for.
    """
    metadata = {"low": low, "high": high, "length_max": length_max, "path": path, "shorthand": shorthand}
    if default is MISSING:
        return field(metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


def section(cls: type[T]) -> T:
    """A field that is a section of its own, all of whose settings have defaults."""
    result: T = field(default_factory=cls)
    return result


def camel(name: str) -> str:
    """`payload_bytes_max` → `payloadBytesMax`."""
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


def variable(path: tuple[str, ...]) -> str:
    """The environment variable of a setting, from its snake_case path: `("log", "level")` → `CODEQ_LOG_LEVEL`."""
    return ENVIRONMENT_PREFIX + "_".join(path).upper()


def setting_paths(cls: type, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The snake_case paths of all settings and sections below `cls`, each section before what is in it."""
    hints = get_type_hints(cls)
    for each in _fields(cls):
        own = (*path, each.name)
        yield own
        if is_dataclass(hints[each.name]):
            yield from setting_paths(hints[each.name], own)


def unknown_variables(cls: type, environ: Mapping[str, str]) -> list[str]:
    """Variables that look like settings but are none: worth a warning, though other programs may own them."""
    known = {variable(path) for path in setting_paths(cls)} | CLIENT_VARIABLES
    return sorted(name for name in environ if name.startswith(ENVIRONMENT_PREFIX) and name not in known)


@dataclass(slots=True)
class Places:
    """Where each key of the configuration was found, to name it in errors found later."""

    source: str
    lines: dict[str, int]
    variables: dict[str, str]

    def error(self, key: str, message: str) -> ConfigError:
        """A `ConfigError` at `key`, or at the nearest enclosing key that was written down."""
        for nearest in _outwards(key):
            if nearest in self.variables:
                return ConfigError(key, 0, message, self.variables[nearest])
            if nearest in self.lines:
                return ConfigError(key, self.lines[nearest], message, self.source)
        return ConfigError(key, 0, message, self.source)

    def in_file(self, key: str) -> bool:
        """Whether the value at `key` stands in the file: neither it nor a section around it is from a variable."""
        return self.variables.keys().isdisjoint(_outwards(key))


def bind(cls: type[T], path: Path, environ: Mapping[str, str]) -> tuple[T, Places]:
    """An instance of `cls` from the YAML file at `path` and the environment, and where its values were found.

    A variable overrides the file; one for a section replaces the section, and one for a setting inside it still wins.
    An empty variable counts as not set.
    Raises `ConfigError`.
    """
    places = Places(str(path), {}, {})
    root = _compose(_read(path), str(path), "")
    binder = _Binder(places, environ, path.absolute().parent)
    value = binder.section(cls, root, "", (), overridable=True)
    if any(each.name == "source" for each in fields(cls)):  # type: ignore[arg-type]
        object.__setattr__(value, "source", str(path))
    return value, places


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError("", 0, f"can't be read: {error.strerror}", str(path)) from None
    if len(raw) > FILE_BYTES_MAX:
        raise ConfigError("", 0, f"is larger than {FILE_BYTES_MAX} bytes", str(path))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError("", line, "is not UTF-8 text", str(path)) from None


class _Loader(yaml.SafeLoader):
    """Refuses what is nested too deep, where it becomes so."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self._depth == DEPTH_MAX:
            mark = parent.start_mark if parent is not None else None
            raise yaml.MarkedYAMLError(problem=f"is nested deeper than {DEPTH_MAX} levels", problem_mark=mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _compose(text: str, source: str, key: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        message = error.problem or "is not valid YAML"
        raise ConfigError(key, mark.line + 1 if mark else 0, message, source) from None
    except (yaml.YAMLError, RecursionError):
        raise ConfigError(key, 0, "is not valid YAML", source) from None


def _fields(cls: type) -> list[Field[Any]]:
    return [each for each in fields(cls) if not each.metadata.get("internal")]


def _outwards(key: str) -> Iterator[str]:
    """`a.b[0].c`, `a.b[0]`, `a.b`, `a`."""
    while key:
        yield key
        key = key[: max(key.rfind("."), key.rfind("["), 0)]


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


class _Binder:
    """One pass over the nodes. Keys are the camelCase paths of errors, paths the snake_case ones of variables."""

    def __init__(self, places: Places, environ: Mapping[str, str], folder: Path) -> None:
        self._places = places
        self._environ = environ
        self._folder = folder

    def section(self, cls: type[T], node: yaml.Node | None, key: str, path: tuple[str, ...], *, overridable: bool) -> T:
        entries = self._entries(cls, node, key)
        hints = get_type_hints(cls)
        values: dict[str, Any] = {}
        for each in _fields(cls):
            own_key, own_path = _join(key, camel(each.name)), (*path, each.name)
            own_node = entries.get(camel(each.name))
            if overridable:
                own_node = self._overridden(own_key, own_path, hints[each.name], own_node)
            if is_dataclass(hints[each.name]):
                nested = hints[each.name]
                assert isinstance(nested, type)
                values[each.name] = self.section(nested, own_node, own_key, own_path, overridable=overridable)
            elif own_node is not None:
                values[each.name] = self._value(hints[each.name], each, own_node, own_key)
            elif each.default is MISSING:
                raise self._places.error(own_key, "is missing")
        return cls(**values)

    def _overridden(self, key: str, path: tuple[str, ...], hint: Any, node: yaml.Node | None) -> yaml.Node | None:
        name = variable(path)
        text = self._environ.get(name, "")
        if not text:
            return node
        self._places.variables[key] = name
        if hint is str or get_origin(hint) is Literal:
            return yaml.ScalarNode("tag:yaml.org,2002:str", text)
        return _compose(text, name, key)

    def _entries(self, cls: type, node: yaml.Node | None, key: str) -> dict[str, yaml.Node]:
        """The children of a mapping by name. A section that is empty, or whose lines are all comments, is null."""
        if node is None or _is_null(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise self._places.error(key, "must be a mapping of settings")
        names = {camel(each.name) for each in _fields(cls)}
        entries: dict[str, yaml.Node] = {}
        for name_node, value_node in node.value:
            name = name_node.value if isinstance(name_node, yaml.ScalarNode) else "?"
            own_key = _join(key, name)
            if self._places.in_file(key):
                self._places.lines.setdefault(own_key, name_node.start_mark.line + 1)
            if name not in names:
                raise self._at(own_key, name_node, "is not a setting of this node")
            if name in entries:
                raise self._at(own_key, name_node, "is set twice")
            entries[name] = value_node
        return entries

    def _at(self, key: str, node: yaml.Node, message: str) -> ConfigError:
        if self._places.in_file(key):
            return ConfigError(key, node.start_mark.line + 1, message, self._places.source)
        return self._places.error(key, message)

    def _value(self, hint: Any, each: Field[Any], node: yaml.Node, key: str) -> Any:
        if get_origin(hint) is tuple:
            return self._list(get_args(hint)[0], each, node, key)
        if get_origin(hint) is Literal:
            return self._choice(get_args(hint), node, key)
        if hint is bool:
            return self._bool(node, key)
        if hint is int:
            return self._int(each, node, key)
        assert hint is str, hint
        return self._str(each, node, key)

    def _list(self, item: Any, each: Field[Any], node: yaml.Node, key: str) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise self._at(key, node, "must be a list")
        if len(node.value) > each.metadata["length_max"]:
            raise self._at(key, node, f"may have {each.metadata['length_max']} entries")
        shorthand = each.metadata["shorthand"]
        values = []
        for index, child in enumerate(node.value):
            own_key = f"{key}[{index}]"
            if self._places.in_file(key):
                self._places.lines[own_key] = child.start_mark.line + 1
            if shorthand and isinstance(child, yaml.ScalarNode):
                mark = child.start_mark, child.end_mark
                name = yaml.ScalarNode("tag:yaml.org,2002:str", camel(shorthand), *mark)
                child = yaml.MappingNode("tag:yaml.org,2002:map", [(name, child)], *mark)
            values.append(self.section(item, child, own_key, (), overridable=False))
        return tuple(values)

    def _choice(self, choices: tuple[str, ...], node: yaml.Node, key: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.value not in choices:
            raise self._at(key, node, "must be one of " + ", ".join(choice for choice in choices if choice))
        return str(node.value)

    def _bool(self, node: yaml.Node, key: str) -> bool:
        if not isinstance(node, yaml.ScalarNode) or node.value not in ("true", "false"):
            raise self._at(key, node, "must be true or false")
        return bool(node.value == "true")

    def _int(self, each: Field[Any], node: yaml.Node, key: str) -> int:
        plain = isinstance(node, yaml.ScalarNode) and node.style is None and len(node.value) <= 20
        if not plain or not _INTEGER.fullmatch(node.value):
            raise self._at(key, node, "must be a whole number")
        value = int(node.value)
        low, high = each.metadata["low"], each.metadata["high"]
        if not low <= value <= high:
            raise self._at(key, node, f"must be {low} to {high}")
        return value

    def _str(self, each: Field[Any], node: yaml.Node, key: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str":
            raise self._at(key, node, "must be a string (in quotes, if it looks like something else)")
        value = str(node.value)
        if len(value) > each.metadata["length_max"]:
            raise self._at(key, node, f"may have {each.metadata['length_max']} characters")
        if "\0" in value:
            raise self._at(key, node, "must not contain NUL")
        if not each.metadata["path"] or not value:
            return value
        if value.startswith(CREDENTIAL_PREFIX):
            return self._credential(value.removeprefix(CREDENTIAL_PREFIX), node, key)
        return str(self._folder / value)

    def _credential(self, name: str, node: yaml.Node, key: str) -> str:
        """The path of a secret that the service manager handed over."""
        if not _CREDENTIAL_NAME.fullmatch(name):
            raise self._at(key, node, "must name a credential: letters, digits, dots, dashes and underscores")
        folder = self._environ.get(CREDENTIALS_VARIABLE, "")
        if not folder:
            raise self._at(key, node, f"is a credential, but {CREDENTIALS_VARIABLE} is not set: no service manager")
        path = Path(folder) / name
        if not path.is_file():
            raise self._at(key, node, f"is a credential that the service manager did not hand over: {name}")
        return str(path)
