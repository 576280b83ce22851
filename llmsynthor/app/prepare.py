"""All that can be checked of a job before anything is spent: every problem at once, and what is odd.

A stage goes as far as it can without the parts that failed before it, and says nothing of what may
be wrong only because of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from llmsynthor.app.warnings import odd_things
from llmsynthor.candidates.read_seed import read_seed
from llmsynthor.candidates.rules import gather_rules
from llmsynthor.candidates.sampler import Sampler
from llmsynthor.engine.zones.plan import Zoned, zoned
from llmsynthor.errors import InputError, Problem, ReplayError, TableError
from llmsynthor.feasibility.check import check_feasible
from llmsynthor.feasibility.drawn import check_drawn
from llmsynthor.files.inputs import Inputs
from llmsynthor.job.consistency import asks_in_focus
from llmsynthor.job.load import LoadedJob, gather_job, read_resolved
from llmsynthor.job.partial import Gaps
from llmsynthor.job.providers import file_of
from llmsynthor.llm.prompts.templates import Templates
from llmsynthor.llm.providers.base import Setup, source_of
from llmsynthor.llm.providers.discovery import AUTO, Found, NoModelError, discover
from llmsynthor.targets.agreement import disagreements
from llmsynthor.targets.build import gather_tables
from llmsynthor.targets.by_zone import whole
from llmsynthor.targets.reconcile.reconcile import Reconciled, measures_with, reconcile
from llmsynthor.targets.statistic import statistic_clashes
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from llmsynthor.candidates.rules import Rule
    from llmsynthor.job.load import Source
    from llmsynthor.job.model import Job, ProviderSpec
    from llmsynthor.targets.table import TableSet

_T = TypeVar("_T")
Use = Literal["run", "replay", "validate", "preview"]
"""What a job is prepared for: it decides what must be there."""


@dataclass(frozen=True)
class Prepared:
    """A job with everything that can be checked before anything is spent."""

    loaded: LoadedJob
    sampler: Sampler
    templates: Templates
    inputs: dict[str, str]
    """File as the job names it -> its sha256."""
    reconciled: Reconciled
    """How the tables were made to agree."""
    model_found: str | None = None
    """Where the model comes from, in words, when the job names none."""
    warnings: tuple[Problem, ...] = ()
    """What is legal but odd."""
    refused: str | None = None
    """Why a run would not start, in words, where what was asked for can be done all the same."""
    absent: tuple[str, ...] = ()
    """Files of the model that are not there, and are not needed for what was asked."""
    zoned: Zoned | None = None
    """The tables with zones, and the chunks; `sampler` knows no zones then."""

    @property
    def tables(self) -> TableSet:
        """Return all tables of the job, with zones where it has some."""
        return self.sampler.tables if self.zoned is None else self.zoned.tables

    @property
    def job(self) -> Job:
        """Return the job."""
        return self.loaded.job


def prepare(
    job: Source,
    overrides: Sequence[str] = (),
    begun: Path | None = None,
    *,
    use: Use = "run",
) -> Prepared:
    """Read and check a job, its tables, rules, templates and recording; spend nothing.

    Args:
        job: The job file, or a job that is made already.
        overrides: `dotted.key=value` texts, where it is not loaded yet.
        begun: A run directory to go on with; a job that names no model keeps that run's.
        use: What for. A replay needs no file of a model or recording, a preview no model file, and
            neither a preview nor a validation needs a model to be found.

    Raises:
        InputError: With everything that must change first.
    """
    loaded, problems, gaps = (
        (job, [], Gaps()) if isinstance(job, LoadedJob) else gather_job(job, list(overrides))
    )
    found = _Findings(loaded, list(problems))
    inputs = Inputs(loaded.folder, loaded.frames)
    if not problems:
        found.add(inputs.unused(loaded.job))
    tables, table_problems = gather_tables(loaded, gaps.unsure, inputs)
    found.add([replace(p, at=gaps.in_file(p.at)) for p in table_problems])
    agreed = reconcile(tables, loaded.job.reconcile, loaded.job.records)
    tables = agreed.tables
    unsure = gaps.lack("reconcile", "members", "zones") or not measures_with(
        loaded.job.reconcile, tables
    )
    clashes = (
        []
        if unsure
        else [
            *disagreements(tables, loaded.job.reconcile),
            *statistic_clashes(tables, loaded.job.records),
        ]
    )
    found.add(clashes)
    rules = _rules(found, tables, gaps)
    ready, likely = None, list[Problem]()
    usable = not (clashes or unsure) and bool(tables.control) and not gaps.lack("records")
    if usable and rules is not None:
        ready = found.attempt(lambda: _feasible(tables, rules, loaded.job, table_problems, likely))
    sampler, zones = ready or (None, None)
    sampler, left_out = _sampled(found, sampler, inputs)
    templates = None
    if not gaps.lack("prompts"):
        own = loaded.resolve(loaded.job.prompts) if loaded.job.prompts else None
        templates = found.attempt(lambda: Templates(own))
    words = refused = None
    if not gaps.lack("provider"):
        chosen = found.attempt(lambda: _with_model(loaded, begun, use))
        loaded, words, refused = chosen or (loaded, None, None)
        refused = found.attempt(lambda: _refused(loaded, use)) or refused
    if found.problems or sampler is None or templates is None:
        raise InputError.of(found.problems)
    hashes, absent = _hashes(loaded.job, inputs)
    everything = use == "validate"
    sampled = _names_in_sample(sampler)
    odd = odd_things(loaded.job, tables, sampler.rules, sampled=sampled, all_of_them=everything)
    warnings = [*agreed.warnings, *odd, *left_out, *likely]
    placed = tuple(loaded.placed(warning) for warning in warnings)
    return Prepared(
        loaded,
        sampler,
        templates,
        hashes,
        agreed,
        words,
        placed,
        refused,
        absent,
        zones,
    )


@dataclass
class _Findings:
    """What is wrong so far."""

    loaded: LoadedJob
    problems: list[Problem]

    def add(self, problems: list[Problem] | tuple[Problem, ...]) -> None:
        """Take up problems, with the job's lines where they are about its keys."""
        self.problems += [self.loaded.placed(problem) for problem in problems]

    def attempt(self, step: Callable[[], _T]) -> _T | None:
        """Return what a step gives; None where it fails, and its problems are taken up."""
        try:
            return step()
        except InputError as error:
            self.add(error.problems)
            return None


def _rules(found: _Findings, tables: TableSet, gaps: Gaps) -> tuple[Rule, ...] | None:
    """Return the rules before the first that is wrong; None where not all variables are known.

    Those after it would be named with the wrong number.
    """
    if gaps.lack("variables", "members", "zones"):
        return None
    specs = found.loaded.job.rules
    positions = gaps.kept.get("rules", list(range(len(specs))))
    rules, problems = gather_rules(specs, tables.domain, positions, tables.members)
    problems += _about_zones(rules, tables)
    found.add(problems)
    usable = set(positions) - {problem.at[1] for problem in problems}
    return rules[: next(n for n in range(len(specs) + 1) if n not in usable)]


def _about_zones(rules: tuple[Rule, ...], tables: TableSet) -> list[Problem]:
    """Return the rules that speak of zones: each chunk knows its own only."""
    name = tables.zones.variable if tables.zones is not None else None
    return [
        Problem(
            f"rules.{position} `{clean(rule.name)}`: it names the zone variable `{clean(name)}`; "
            "rules are about the other variables, a table says what a zone has none of",
            at=("rules", position),
        )
        for position, rule in enumerate(rules)
        if name is not None and name in rule.scope
    ]


def _feasible(
    tables: TableSet,
    rules: tuple[Rule, ...],
    job: Job,
    table_problems: list[Problem],
    warnings: list[Problem],
) -> tuple[Sampler, Zoned | None] | None:
    """Return a sampler that knows records which the tables need, if they can be met at all.

    Where it is only likely that they cannot, `warnings` takes it up. With zones, that is asked of
    the tables over chunks, and the sampler knows none.
    """
    if job.zones is not None:
        if table_problems:
            return None
        zones = zoned(tables, job)
        sampler = Sampler(zones.shared, rules, job.seed)
        if tables.members is not None:
            warnings += check_drawn(sampler, job.records)
            return sampler, zones
        asked = zones.coarse if len(zones.chunking) > 1 else whole(tables)
        found = check_feasible(Sampler(asked, rules, job.seed), job.records)
        return sampler, replace(zones, known=found)
    sampler = Sampler(tables, rules, job.seed)
    if tables.members is not None:  # the exact programs are over records without members
        warnings += check_drawn(sampler, job.records)
        return sampler, None
    known = check_feasible(sampler, job.records)
    return Sampler(tables, rules, job.seed, known) if len(known) else sampler, None


def _sampled(
    found: _Findings, sampler: Sampler | None, inputs: Inputs
) -> tuple[Sampler | None, list[Problem]]:
    """Return the sampler with the job's seed sample, and what was left out of that."""
    spec = found.loaded.job.seed_sample
    if sampler is None or spec is None:
        return sampler, []
    read = found.attempt(lambda: read_seed(spec, inputs, sampler))
    return (None, []) if read is None else (sampler.with_sample(read[0]), read[1])


def _names_in_sample(sampler: Sampler) -> set[str]:
    """Return the variables, of records and members, that the seed sample has."""
    if sampler.sample is None:
        return set()
    members = sampler.members  # whose variables stand slot by slot behind the record's
    own = sampler.domain.names if members is None else (*members.record.names, *members.own.names)
    return {name for name, there in zip(own, sampler.sample.present, strict=False) if there}


def _with_model(
    loaded: LoadedJob, begun: Path | None, use: Use
) -> tuple[LoadedJob, str | None, str | None]:
    """Return the job with a model, whence that is where it names none, and why no run would start."""
    job = loaded.job
    if job.provider.model != AUTO:
        return loaded, None, None
    resolved = begun / "job.resolved.yaml" if begun is not None else None
    if resolved is not None and resolved.exists():
        spec: ProviderSpec | Found = read_resolved(resolved).provider
        words = f"the job names no `provider.model`: this run began with `{spec.model}`"
    else:
        try:
            spec = found = discover(job.provider)
        except NoModelError as error:
            if use not in ("validate", "preview"):
                raise
            return loaded, None, str(error) + (f"\n\n{error.hint}" if error.hint else "")
        words = found.words
    settings = {k: getattr(spec, k) for k in ("model", "api_base", "api_key_env")}
    provider = job.provider.model_copy(update=settings)
    return replace(loaded, job=job.model_copy(update={"provider": provider})), words, None


def setup_of(job: Job, loaded: LoadedJob) -> Setup:
    """Return what the job's provider is made of."""
    style: Literal["plan", "focus"] = "focus" if asks_in_focus(job) else "plan"
    return Setup(job.provider, loaded.resolve(file_of(job.provider) or ""), job.seed, style)


def _refused(loaded: LoadedJob, use: Use) -> str | None:
    """Check the model's file as far as is needed; return why no run would start with it.

    Raises:
        InputError: The file is missing, is not what it should be, or does not fit the job.
    """
    if file_of(loaded.job.provider) is None or use == "replay":
        return None
    try:
        source_of(setup_of(loaded.job, loaded)).check()
    except InputError as error:
        if use != "preview" or isinstance(error, ReplayError):
            raise
        return str(error)
    return None


def _hashes(job: Job, inputs: Inputs) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the sha256 of each file that the job reads, by its name in the job.

    A file of the model that cannot be read is not needed where one gets here: it is named instead.
    """
    hashes = inputs.hashes(job)
    file = file_of(job.provider)
    if file is None:
        return hashes, ()
    try:
        return {**hashes, file: inputs.sha256(file)}, ()
    except TableError:
        return hashes, (file,)
