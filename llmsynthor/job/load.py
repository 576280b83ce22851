"""Reading a job file: YAML with line numbers, `--set` overrides, every problem with its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from llmsynthor.errors import JobError, Problem
from llmsynthor.job.consistency import inconsistencies, without_effect
from llmsynthor.job.messages import bad_key, describe_all
from llmsynthor.job.model import Job
from llmsynthor.job.partial import Gaps, read_partly
from llmsynthor.job.yaml_nodes import Nodes, read_nodes, read_value
from llmsynthor.text import clean, count_of, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, repr=False)
class LoadedJob:
    """A job with where it came from.

    Attributes:
        job: The validated job.
        path: The job file.
        nodes: Where in the file each value stands; None for a job that is not from a file.
        frames: What stands in place of files: name as in the job -> a frame.
        folder: Paths in the job are relative to this folder.
    """

    job: Job
    path: Path
    nodes: Nodes | None = field(default=None, compare=False)
    frames: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        job = self.job
        sizes = (count_of(job.records, "record"), count_of(len(job.tables), "table"))
        return f"<Job {self.path}: {', '.join(sizes)}, model {job.provider.model}>"

    @property
    def folder(self) -> Path:
        """Return the folder that relative paths in the job start from."""
        return self.path.parent

    def resolve(self, relative: str) -> Path:
        """Return a path of the job as seen from the current directory."""
        return self.folder / relative

    def placed(self, problem: Problem) -> Problem:
        """Return a problem of one of the job's keys with the line of that key."""
        if problem.file is not None or not problem.at or self.nodes is None:
            return problem
        place = self.nodes.place(problem.at)
        return replace(problem, file=place.file, line=place.line, column=place.column)


Source = Path | Mapping[str, Any] | Job | LoadedJob
"""A job's file, its content, or the job itself."""


def load_job(source: Source, overrides: Sequence[str] = ()) -> LoadedJob:
    """Read and validate a job.

    Args:
        source: Its YAML file, its content, or the job itself.
        overrides: `dotted.key=value` texts; the value is read as YAML, and `null` takes the key out.

    Raises:
        JobError: With every problem found, each as `file:line:column: key: what to do`.
    """
    loaded, problems, _ = gather_job(source, overrides)
    if problems:
        raise JobError.of(problems)
    return loaded


def gather_job(
    source: Source, overrides: Sequence[str] = ()
) -> tuple[LoadedJob, list[Problem], Gaps]:
    """Read what can be read of a job.

    Returns:
        The job, without what is wrong; every problem; and what is missing for that reason.

    Raises:
        JobError: It is no YAML mapping, or an override cannot be used.
    """
    if isinstance(source, Path):
        return _gathered(source, _read(source), overrides)
    if isinstance(source, LoadedJob):
        path, text = source.path, dump_job(source.job)
    elif isinstance(source, Job):
        path, text = Path(f"{source.name}.yaml"), dump_job(source)
    else:
        path, text = Path(f"{source.get('name', 'job')}.yaml"), _as_yaml(source)
    loaded, problems, gaps = _gathered(path, text, overrides)
    here = [replace(p, file=None, line=None, column=None) if p.line else p for p in problems]
    return replace(loaded, nodes=None), here, gaps


def _as_yaml(content: Mapping[str, Any]) -> str:
    try:
        return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as error:
        raise JobError(f"a job is made of texts, numbers, lists and mappings: {error}") from None


def _gathered(
    path: Path, text: str, overrides: Sequence[str]
) -> tuple[LoadedJob, list[Problem], Gaps]:
    """Return what `gather_job` does, of a job that is the YAML `text`."""
    nodes, content, problems = read_nodes(path, text)
    nodes = replace(nodes, sources=_apply_overrides(content, overrides))
    try:
        return LoadedJob(Job.model_validate(content), path, nodes), problems, Gaps()
    except ValidationError as error:
        errors = error.errors()
    job, gaps = read_partly(nodes, content, errors)
    found = describe_all(nodes, errors)
    places = {(p.file, p.line, p.column) for p in found}
    found += [p for p in problems if (p.file, p.line, p.column) not in places]
    loaded = LoadedJob(job, path, nodes)
    for at, message in inconsistencies(job):
        if not gaps.may_excuse(at):
            place = gaps.in_file(at)
            where = clean(".".join(map(str, place)))
            found.append(loaded.placed(Problem(f"{where}: {message}", at=place)))
    return loaded, sorted(found, key=lambda p: (p.line is None, p.line or 0, p.column or 0)), gaps


def load_yaml(
    path: Path, model: type[_Model], known: str
) -> tuple[_Model, Callable[[list[str]], str]]:
    """Read and validate a YAML file of another kind than a job.

    Args:
        path: The file.
        model: What it must be.
        known: Where the keys are described, for messages.

    Returns:
        Its content, and a function from a path of keys to `file:line:column`.

    Raises:
        JobError: With every problem found, each as `file:line:column: key: what to do`.
    """
    keys = ", ".join(f"`{name}`" for name in model.model_fields)
    nodes, content, problems = read_nodes(path, _read(path), f"must be a mapping with {keys}")
    try:
        found = model.model_validate(content)
    except ValidationError as error:
        problems += [_wrong_entry(nodes, problem, known) for problem in error.errors()]
        raise JobError.of(problems) from None
    if problems:
        raise JobError.of(problems)

    def place_of(steps: list[str]) -> str:
        place = nodes.place(steps)
        return f"{place.file}:{place.line}:{place.column}"

    return found, place_of


def _wrong_entry(nodes: Nodes, error: Mapping[str, Any], known: str) -> Problem:
    steps = [str(step) for step in error["loc"] if "[" not in str(step)]  # pydantic's own steps
    if error["loc"][-1] == "[key]":
        return bad_key(nodes, tuple(steps[:-1]), error["input"])
    words = {"extra_forbidden": "unknown key", "missing": "this key is needed"}.get(
        error["type"], str(error["msg"]).removeprefix("Value error, ")
    )
    return nodes.place(steps).problem(f"{clean('.'.join(steps))}: {words}; {known}")


def dump_job(job: Job) -> str:
    """Return the job as YAML: every default written out, but for what has no effect in this job."""
    content = job.model_dump(mode="json")
    for part, name in without_effect(job):
        del content[part][name]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def parse_job(text: str, path: Path) -> Job:
    """Return the job in `text`, as `dump_job` wrote it.

    Raises:
        JobError: The text is damaged.
    """
    try:
        return _parsed(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise JobError(f"{path}: not the job that the run wrote ({type(error).__name__})") from None


@lru_cache(maxsize=4)
def _parsed(text: str) -> Job:
    """Return the job in `text`; a run and each of its workers read theirs several times."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # as safe, in C where it was built
    return Job.model_validate(yaml.load(text, loader))  # noqa: S506 - both are safe


def read_resolved(path: Path) -> Job:
    """Return the job that a run wrote into its directory.

    Raises:
        JobError: It is missing or damaged.
    """
    try:
        return parse_job(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise JobError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise JobError(f"{path}: not the job that the run wrote (no UTF-8)") from None


def _read(path: Path) -> str:
    file = str(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise JobError.of([_no_such_file(path)]) from None
    except IsADirectoryError:
        hint = "name the job file in it, for example `job.yaml`"
        raise JobError.of([Problem("this is a folder, not a job file", file, hint=hint)]) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = f"byte {error.start} (0x{error.object[error.start]:02X}) is not UTF-8"
        problem = Problem(message, file, line, hint="save the file as UTF-8")
        raise JobError.of([problem]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise JobError.of([Problem(f"cannot be read ({reason})", file)]) from None


def _no_such_file(path: Path) -> Problem:
    folder = path.parent
    names = sorted(p.name for p in folder.glob("*.y*ml")) if folder.is_dir() else []
    return Problem(f"no such file{did_you_mean(path.name, names)}", str(path))


def _apply_overrides(
    content: dict[Any, Any], overrides: Sequence[str]
) -> dict[tuple[str, ...], str]:
    """Write the overrides into `content`; return which option set which key."""
    sources: dict[tuple[str, ...], str] = {}
    for override in overrides:
        key, separator, value = override.partition("=")
        parts = tuple(key.strip().split("."))
        if not separator or not all(parts):
            raise JobError(f"--set {override}: write it as `dotted.key=value`")
        try:
            parsed = read_value(value)
        except ValueError as error:
            raise JobError(f"--set {override}: {error}") from None
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
        if last and value is None and isinstance(content, dict):
            content.pop(key, None)  # null is the default wherever it is allowed
        elif last:
            content[key] = value
        elif isinstance(content, dict):
            content = content.setdefault(key, {})
            if content is None:
                raise JobError(f"--set {override}: `{part}` is empty in the job")
        else:
            content = content[key]
