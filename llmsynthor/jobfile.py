"""Reading a job file: YAML with line numbers, `--set` overrides, errors that point at the place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from llmsynthor.errors import JobError
from llmsynthor.job import Job

if TYPE_CHECKING:
    from pathlib import Path

_UNIONS = {"category", "integer", "number"}
"""Discriminator tags that pydantic puts into error paths and that no YAML node has."""


@dataclass(frozen=True)
class LoadedJob:
    """A job with where it came from.

    Attributes:
        job: The validated job.
        path: The job file.
        folder: Paths in the job are relative to this folder.
    """

    job: Job
    path: Path

    @property
    def folder(self) -> Path:
        """Return the folder that relative paths in the job start from."""
        return self.path.parent

    def resolve(self, relative: str) -> Path:
        """Return a path of the job as seen from the current directory."""
        return self.folder / relative


def load_job(path: Path, overrides: list[str] | None = None) -> LoadedJob:
    """Read and validate a job file.

    Args:
        path: The YAML file.
        overrides: `dotted.key=value` texts; the value is read as YAML.

    Raises:
        JobError: With every problem found, each as `file:line:column: key: what to do`.
    """
    text = _read(path)
    root = _compose(path, text)
    content = _construct(path, text)
    if not isinstance(content, dict) or root is None:
        raise JobError(f"{path}:1:1: a job is a mapping of keys such as `name` and `tables`")
    sources = _apply_overrides(content, overrides or [])
    try:
        return LoadedJob(Job.model_validate(content), path)
    except ValidationError as error:
        lines = [_describe(path, root, sources, problem) for problem in error.errors()]
        raise JobError(
            "\n".join(dict.fromkeys(lines)),
            hint="`llmsynthor validate JOB` checks without spending",
        ) from None


def dump_job(job: Job) -> str:
    """Return the job as YAML, with every default written out."""
    return yaml.safe_dump(
        job.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
    )


def parse_job(text: str, path: Path) -> Job:
    """Return the job in `text`, as `dump_job` wrote it.

    Raises:
        JobError: The text is damaged.
    """
    try:
        return Job.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise JobError(f"{path}: not the job that the run wrote ({type(error).__name__})") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise JobError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise JobError(
            f"{path}: byte {error.start} is not UTF-8", hint="save the file as UTF-8"
        ) from None
    except OSError as error:
        raise JobError(f"{path}: cannot be read ({error.strerror})") from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, which plain YAML lets pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            if key.value in first:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"key `{key.value}` is given twice, first on line {first[key.value]}",
                    key.start_mark,
                )
            first[key.value] = line
        return super().construct_mapping(node, deep)


def _compose(path: Path, text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise JobError(_yaml_problem(path, error)) from None


def _construct(path: Path, text: str) -> Any:  # noqa: ANN401 - YAML holds anything
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise JobError(_yaml_problem(path, error)) from None
    except (ValueError, RecursionError) as error:
        raise JobError(f"{path}: not valid YAML: {error}") from None


def _yaml_problem(path: Path, error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{path}:{mark.line + 1}:{mark.column + 1}: not valid YAML: {error.problem}"
    return f"{path}: not valid YAML: {error}"


def _apply_overrides(content: dict[Any, Any], overrides: list[str]) -> dict[tuple[str, ...], str]:
    """Write the overrides into `content`; return which option set which key."""
    sources: dict[tuple[str, ...], str] = {}
    for override in overrides:
        key, separator, value = override.partition("=")
        parts = tuple(key.strip().split("."))
        if not separator or not all(parts):
            raise JobError(f"--set {override}: write it as `dotted.key=value`")
        try:
            parsed = yaml.load(value, Loader=_Loader)  # noqa: S506 - a SafeLoader
        except (yaml.YAMLError, ValueError):  # a date that is none is a ValueError
            raise JobError(f"--set {override}: the value is not valid YAML") from None
        _set(content, parts, parsed, override)
        sources[parts] = override
    return sources


def _set(content: Any, parts: tuple[str, ...], value: Any, override: str) -> None:  # noqa: ANN401
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if isinstance(content, list):
            if not part.isdigit() or int(part) >= len(content):
                raise JobError(
                    f"--set {override}: `{part}` is not a position from 0 to {len(content) - 1}"
                )
            key: Any = int(part)
        elif isinstance(content, dict):
            key = part
        else:
            raise JobError(f"--set {override}: `{'.'.join(parts[:position])}` has no keys inside")
        if last:
            content[key] = value
        elif isinstance(content, dict):
            content = content.setdefault(key, {})
            if content is None:
                raise JobError(f"--set {override}: `{part}` is empty in the job")
        else:
            content = content[key]


def _describe(
    path: Path,
    root: yaml.Node,
    sources: dict[tuple[str, ...], str],
    problem: Any,  # noqa: ANN401
) -> str:
    steps = _readable(root, problem["loc"])
    where = ".".join(steps)
    option = next(
        (o for parts, o in sources.items() if tuple(steps)[: len(parts)] == parts),
        # an override may also have made what is wrong around it
        next(
            (o for parts, o in sources.items() if steps and list(parts[: len(steps)]) == steps),
            None,
        ),
    )
    if option is None:
        line, column = _place(root, steps)
        place = f"{path}:{line}:{column}"
    else:
        place = f"--set {option}"
    return f"{place}: {where + ': ' if where else ''}{_advice(problem)}"


def _readable(root: yaml.Node, loc: tuple[int | str, ...]) -> list[str]:
    """Return the path without the union tags that only pydantic knows."""
    steps: list[str] = []
    for step in loc:
        parent = _walk(root, steps)
        known = parent is not None and any(k == str(step) for k, _, _ in _children(parent))
        is_tag = str(step) in _UNIONS or not _is_key(str(step))
        if known or not is_tag:
            steps.append(str(step))
    return steps


def _is_key(step: str) -> bool:
    return not any(mark in step for mark in "[(' ") and step not in {
        "float", "int", "str", "constrained-float", "constrained-int",
    }  # fmt: skip


def _children(node: yaml.Node) -> list[tuple[str, yaml.Node, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        return [(str(key.value), key, value) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [(str(i), value, value) for i, value in enumerate(node.value)]
    return []


def _walk(root: yaml.Node, steps: list[str]) -> yaml.Node | None:
    node: yaml.Node | None = root
    for step in steps:
        node = next((v for k, _, v in _children(node) if k == step), None) if node else None
    return node


def _place(root: yaml.Node, steps: list[str]) -> tuple[int, int]:
    """Return line and column of the value, or of the nearest node around it that exists."""
    node, mark = root, root.start_mark
    for step in steps:
        found = next((child for child in _children(node) if child[0] == step), None)
        if found is None:
            break
        _, key, node = found
        mark = (
            node.start_mark
            if not isinstance(node, (yaml.MappingNode, yaml.SequenceNode))
            else key.start_mark
        )
    return mark.line + 1, mark.column + 1


def _advice(problem: Any) -> str:  # noqa: ANN401 - pydantic's error record
    kind, given = problem["type"], problem.get("input")
    message = str(problem["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return "unknown key; see `llmsynthor schema` for the keys there are"
    if kind == "missing":
        return "this key is needed"
    if kind in {"string_type", "literal_error"} and isinstance(given, bool):
        return f"{message}, got {given} (YAML reads bare yes/no/on/off as true/false; put it in quotes)"
    if kind == "string_type" and isinstance(given, (int, float)):
        return f"{message}, got the number {given} (put it in quotes)"
    if kind == "union_tag_not_found":
        return "give the `type`: category, integer or number"
    if kind == "value_error" or isinstance(given, (dict, list)):
        return message
    return f"{message}, got {_shown(given)}"


def _shown(given: Any) -> str:  # noqa: ANN401
    text = repr(given)
    return text if len(text) <= 60 else text[:57] + "..."
