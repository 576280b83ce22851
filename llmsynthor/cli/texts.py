"""Texts of options taken apart: names, pairs and joints of columns, some of them in quotes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmsynthor.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Sequence


def split_outside_quotes(text: str, mark: str) -> list[str]:
    """Return the parts of `text` between `mark`s that stand in no double quotes, quotes kept.

    Example:
        >>> split_outside_quotes('age*"a*b"', "*")
        ['age', '"a*b"']
    """
    parts, quoted = [""], False
    for letter in text:
        quoted ^= letter == '"'
        if letter == mark and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"')
    return text


def parse_names(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of `a,b,"c, with a comma"`, each once.

    Raises:
        JobError: A name is empty.
    """
    names = [_unquoted(part) for text in texts for part in split_outside_quotes(text, ",")]
    if not all(names):
        raise JobError(f"--variables {','.join(texts)}: a name is empty; write `a,b,c`")
    return tuple(dict.fromkeys(names))


def parse_joints(texts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the column sets of `a*b,c*d*e`.

    Raises:
        JobError: A joint has fewer than two columns, or the same one twice.
    """
    joints = []
    for text in texts:
        for part in split_outside_quotes(text, ","):
            names = tuple(_unquoted(name) for name in split_outside_quotes(part, "*"))
            if len(names) < 2 or not all(names) or len(set(names)) < len(names):
                raise JobError(
                    f"--joints {text}: `{part}` does not name two or more different columns; "
                    'write `a*b,c*d*e` (a name with `*` or `,` in double quotes: `"a,b"*c`)'
                )
            joints.append(names)
    return tuple(joints)


def parse_pairs(option: str, texts: Sequence[str], example: str) -> dict[str, str]:
    """Return column -> value of `column=value` texts; the last `=` divides.

    Raises:
        JobError: A text has no `=`, or a column comes twice with different values.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.rpartition("=")
        name, value = _unquoted(name), value.strip()
        if not separator or not name or not value:
            raise JobError(f"{option} {text}: write it as `{example}`")
        if found.setdefault(name, value) != value:
            raise JobError(f"{option} {text}: `{name}` was given `{found[name]}` before")
    return found
