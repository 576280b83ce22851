"""A job file as YAML: its nodes with their lines, and what YAML reads otherwise than it looks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from llmsynthor.errors import JobError, Problem
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_BINARY = re.compile(r"[-+]?0[bx][0-9a-fA-F_]+")
_SCANNED = {
    "found character '\\t' that cannot start any token": "a tab: YAML indents with spaces only",
    "mapping values are not allowed here": (
        "a `:` that YAML does not expect here; put a text with a colon in quotes, or check the "
        "indentation"
    ),
    "could not find expected ':'": "a `:` is missing after a key here or just above",
    "expected <block end>, but found '<block mapping start>'": (
        "this line is indented otherwise than the lines it belongs to"
    ),
    "expected <block end>, but found '-'": (
        "this line is indented otherwise than the lines it belongs to"
    ),
    "found unexpected end of stream": "a quote opens here and is never closed",
}


@dataclass(frozen=True)
class Place:
    """Where a value of the job comes from: a line of the file, or an option."""

    file: str
    line: int | None = None
    column: int | None = None

    def problem(self, message: str) -> Problem:
        """Return what is wrong here."""
        return Problem(message, self.file, self.line, self.column)


def _at(file: str | Path, mark: yaml.Mark) -> Place:
    return Place(str(file), mark.line + 1, mark.column + 1)


@dataclass(frozen=True)
class Nodes:
    """The nodes of a job file, and which `--set` options stand over them.

    Attributes:
        path: The job file.
        root: Its outermost node, a mapping.
        sources: Key as a path of steps -> the option that set it.
    """

    path: Path
    root: yaml.Node
    sources: dict[tuple[str, ...], str] = field(default_factory=dict)

    def place(self, steps: Sequence[str | int]) -> Place:
        """Return the place of a key, or of the nearest one around it that exists."""
        path = tuple(map(str, steps))
        option = self._option(path)
        if option is not None:
            return Place(f"--set {option}")
        node, mark = self.root, self.root.start_mark
        for step in path:
            found = next((child for child in _children(node) if child[0] == step), None)
            if found is None:
                break
            _, key, node = found
            inside = isinstance(node, (yaml.MappingNode, yaml.SequenceNode))
            mark = key.start_mark if inside else node.start_mark
        return _at(self.path, mark)

    def key_place(self, steps: Sequence[str | int]) -> Place:
        """Return the place of a key itself, not of its value."""
        path = tuple(map(str, steps))
        parent = self.walk(path[:-1])
        key = next((key for name, key, _ in _children(parent) if name == path[-1]), None)
        if key is None or self._option(path) is not None:
            return self.place(path)
        return self.at(key)

    def written(self, steps: Sequence[str | int]) -> str | None:
        """Return an unquoted value as the file has it, None if it is quoted or not in the file."""
        if self._option(tuple(map(str, steps))) is not None:
            return None
        node = self.walk(steps)
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return str(node.value) if plain and node is not None else None

    def at(self, node: yaml.Node) -> Place:
        """Return the place of a node."""
        return _at(self.path, node.start_mark)

    def key_node(self, steps: Sequence[str | int], key: object) -> yaml.ScalarNode | None:
        """Return the node of a key of the mapping at `steps`, by what YAML makes of it.

        A truth value may be given as 0 or 1, as pydantic has it.
        """
        for _, node, _ in _children(self.walk(steps) or self.root):
            if isinstance(node, yaml.ScalarNode) and node.style is None:
                value = yaml.safe_load(node.value)
                if value == key and type(value) in {type(key), bool}:
                    return node
        return None

    def value_is_empty(self, key: yaml.ScalarNode | None) -> bool:
        """Return whether nothing stands at a key of the file."""
        return key is not None and any(
            own is key and isinstance(value, yaml.ScalarNode) and not value.value
            for node in _all(self.root)
            if isinstance(node, yaml.MappingNode)
            for own, value in node.value
        )

    def walk(self, steps: Sequence[str | int]) -> yaml.Node | None:
        """Return the node of a key, or None."""
        node: yaml.Node | None = self.root
        for step in map(str, steps):
            node = next((value for key, _, value in _children(node) if key == step), None)
        return node

    def _option(self, path: tuple[str, ...]) -> str | None:
        for parts, option in self.sources.items():
            if path[: len(parts)] == parts:
                return option
        # an override may also have made what is wrong around it
        around = (o for parts, o in self.sources.items() if path and parts[: len(path)] == path)
        return next(around, None) if self.walk(path) is None else None


def read_nodes(
    path: Path, text: str, kind: str = "a job is a mapping of keys such as `name` and `tables`"
) -> tuple[Nodes, dict[Any, Any], list[Problem]]:
    """Read YAML.

    Args:
        path: The file.
        text: Its content.
        kind: What it must be, for whom it is not.

    Returns:
        The nodes, the content, and what is wrong with it as YAML although it can be read: keys
        that are given twice and numbers that YAML reads in another base.

    Raises:
        JobError: It is no YAML, or no mapping.
    """
    file = str(path)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise JobError.of([yaml_problem(file, error)]) from None
    except Exception as error:  # noqa: BLE001 - PyYAML lets several kinds through for odd tags
        message = f"not valid YAML: {clean(str(error) or type(error).__name__)}"
        raise JobError.of([Problem(message, file)]) from None
    if not isinstance(content, dict) or root is None:
        raise JobError.of([Problem(kind, file, 1, 1)])
    return Nodes(path, root), content, _odd(file, root)


def read_value(text: str) -> Any:  # noqa: ANN401 - YAML holds anything
    """Return the value of an option as YAML.

    Raises:
        ValueError: It is none, or not what it looks like.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except Exception:  # noqa: BLE001 - as above
        raise ValueError("the value is not valid YAML") from None
    odd = _odd("", root) if root is not None else []
    if odd:
        raise ValueError(odd[0].message)
    return value


def yaml_problem(file: str, error: yaml.YAMLError) -> Problem:
    """Return in plain words why a text is no YAML."""
    if isinstance(error, yaml.reader.ReaderError):
        character = getattr(error, "character", 0)
        code = character if isinstance(character, int) else ord(str(character)[:1] or " ")
        return Problem(f"character U+{code:04X} may not stand in a YAML file", file)
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem(f"not valid YAML: {clean(str(error))}", file)
    mark, reason = error.problem_mark, str(error.problem)
    plain = _SCANNED.get(reason)
    if plain is None and "alias" in reason:
        plain = "a text that begins with `*` must be put in quotes"
    elif plain is None and any(mark in reason for mark in ("'@'", "'`'", "'%'")):
        plain = "a text that begins with `@`, `%` or a backtick must be put in quotes"
    if reason.startswith("found unexpected end of stream") and error.context_mark is not None:
        mark = error.context_mark
    message = f"not valid YAML: {plain or clean(reason)}"
    return _at(file, mark).problem(message)


def _odd(file: str, root: yaml.Node) -> list[Problem]:
    found = []
    for node in _all(root):
        if isinstance(node, yaml.MappingNode):
            found += _repeated(file, node)
        elif isinstance(node, yaml.ScalarNode) and (reading := misread(node)):
            message = f"YAML reads `{clean(node.value)}` as {reading}; {quoted_or_plain(node)}"
            found.append(_at(file, node.start_mark).problem(message))
    return found


def misread(node: yaml.ScalarNode) -> str | None:
    """Return what YAML 1.1 makes of a number that is not what it looks like, or None."""
    if node.style is not None or not node.tag.endswith((":int", ":float")):
        return None
    try:
        value = yaml.safe_load(node.value)
    except (yaml.YAMLError, ValueError):
        return None
    if _SEXAGESIMAL.fullmatch(node.value):
        return f"the number {value} (base 60)"
    if _OCTAL.fullmatch(node.value) and node.value.strip("+-0_"):
        return f"the number {value} (base 8)"
    if _BINARY.fullmatch(node.value):
        return f"the number {value}"
    return None


def quoted_or_plain(node: yaml.ScalarNode) -> str:
    """Return how to write what was meant."""
    text = f'quote it if it is a text: "{clean(node.value)}"'
    digits = node.value.lstrip("+-0")
    return f"{text}, else write {digits}" if digits.isdigit() else text


def _repeated(file: str, node: yaml.MappingNode) -> list[Problem]:
    first: dict[str, int] = {}
    found = []
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
            continue
        if key.value in first:
            message = f"key `{clean(key.value)}` is given twice, first on line {first[key.value]}"
            found.append(_at(file, key.start_mark).problem(message))
        first.setdefault(key.value, key.start_mark.line + 1)
    return found


def _all(root: yaml.Node) -> Iterator[yaml.Node]:
    """Yield every node once, keys too, in the file's order."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += reversed([part for pair in node.value for part in pair])
        elif isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)


def _children(node: yaml.Node | None) -> list[tuple[str, yaml.Node, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        return [(str(key.value), key, value) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [(str(i), value, value) for i, value in enumerate(node.value)]
    return []
