"""The loop: ask for proposals, calibrate candidates to the tables, write batches, materialize."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from llmsynthor.candidates.library import library_share, library_tvd, proposal_line
from llmsynthor.engine.choose import Chooser
from llmsynthor.engine.state import State
from llmsynthor.engine.stopping import Effort, levelled_off, logged_effort
from llmsynthor.fitting.values.aims import aims_of
from llmsynthor.llm.budget import Usage
from llmsynthor.llm.providers.base import Stop
from llmsynthor.store.batches import Batches
from llmsynthor.store.directory import ITERATIONS, PROPOSALS
from llmsynthor.store.lines import Bulk, Iteration, Used, WorstTable
from llmsynthor.store.materialize import Materializer, deal, in_parallel
from llmsynthor.targets.measures import tvd
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmsynthor.candidates.proposals import Proposal, ProposalLine
    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.engine.choose import Chosen
    from llmsynthor.job.model import Job
    from llmsynthor.llm.ask import Asker, Round
    from llmsynthor.store.batches import Held
    from llmsynthor.store.directory import RunDirectory

PILOT_CANDIDATES = (20_000, 60_000)


class Listener(Protocol):
    """Is told what happens; shows it to a person."""

    def iteration(self, line: Iteration) -> None:
        """Hear of a finished iteration."""

    def progress(self, stage: str, done: int, whole: int) -> None:
        """Hear how far a stage is."""

    def warn(self, text: str) -> None:
        """Hear of something odd that does not stop the run."""


@dataclass(eq=False)
class Engine:
    """Runs one job into one run directory; asks through `asker`, or not at all."""

    job: Job
    sampler: Sampler
    run: RunDirectory
    listener: Listener
    clock: Callable[[], float]
    asker: Asker | None

    def __post_init__(self) -> None:
        self.tables = self.sampler.tables
        self.state = State(
            counts=[np.zeros(table.cells) for table in self.tables.control],
            sums=np.zeros((len(aims_of(self.tables)), 2)),
        )
        lines, self.bulk = self.run.iterations()
        self.lines = {line.iteration: line for line in lines}
        self.batches = Batches(self.run, self.sampler, self.listener.warn)
        self.chooser = Chooser(self.job, self.sampler, self.state, self.clock, self._stage)

    def execute(self) -> State:
        """Run to the end; what exists in the run directory is not made again."""
        if self.asker is not None:
            self._infer_groups(self.asker)
            self.state.stop = Stop("iterations", "all iterations done")
            for iteration in range(1, self.job.engine.iterations + 1):
                stop = self._iterate(self.asker, iteration)
                if stop is not None:
                    self.state.stop = stop
                    break
        self._materialize()
        self._write_proposals(with_records=True)
        return self.state

    def _infer_groups(self, asker: Asker) -> None:
        given = self.job.dependencies
        if isinstance(given, list):
            self.state.groups = [list(group) for group in given]
        elif given == "infer":
            from llmsynthor.llm.prompts.groups import holds_groups, read_groups

            words, _ = asker.ask_groups()
            self.state.groups, unknown = read_groups(words or "", self.tables.domain)
            if words is not None and not holds_groups(words):
                self._note("the reply on which variables depend on each other could not be read")
            elif words is not None and not self.state.groups:
                self._note("the model named no variables that depend on each other")
            if unknown:
                named = ", ".join(f"`{clean(name, 40)}`" for name in unknown[:3])
                self._note(f"left out of the groups of dependent variables: {named}, no variable")

    def _iterate(self, asker: Asker, iteration: int) -> Stop | None:
        """Do one iteration; return why asking ends, or None to go on."""
        state, started = self.state, self.clock()
        self._stage("asking")
        found = asker.ask_plans(iteration, self.plan_context(asker, iteration), state.next_id)
        if found.stop and not found.plans:
            return found.stop
        self._admit(found)
        asked = self.clock()
        effort = self._pilot(iteration)
        logged = self.lines.get(iteration)
        # a pilot batch that is on disk is not calibrated again: the line has its figures
        state.efforts.append(effort if logged is None else logged_effort(logged))
        state.priors.append(library_tvd(state.library, self.tables))
        self._note_iteration(iteration, found, asked - started, self.clock() - started)
        self._write_proposals(with_records=False)
        return found.stop or self._levelled_off()

    def plan_context(self, asker: Asker, iteration: int) -> dict[str, Any]:
        """Return what an iteration's plan prompts are made from."""
        return asker.prompts.plan_context(
            library=self.state.library,
            library_size=len(self.state.library),
            iteration=iteration,
            groups=self.state.groups,
            rejected=self.state.refused,
            **self._guidance(),
        )

    def _guidance(self) -> dict[str, Any]:
        """Return what the model is shown of its own proposals: their shares, not the records'."""
        library = self.state.library
        if not library:
            return {"prior": None}
        return {"prior": [library_share(library, t, self.tables) for t in self.tables.control]}

    def _admit(self, found: Round) -> None:
        """Take what was found into the library; keep why the rest was refused."""
        state = self.state
        state.library += found.proposals
        state.rejections += found.rejections
        for plan in found.plans:
            ids = [p.id for p in plan.proposals] + [r.id for r in plan.rejections]
            state.requests |= dict.fromkeys(ids, plan.request)
        state.refused = [rejection.problem or "" for rejection in found.rejections]
        state.refused += [plan.problem for plan in found.plans if plan.problem]

    def _levelled_off(self) -> Stop | None:
        state = self.state
        return levelled_off(state.priors, state.efforts, self.job.engine.patience)

    def _pilot(self, iteration: int) -> Effort | None:
        """Write the small aligned batch of one iteration; return what calibrating it took.

        One that would take more than a cell has left is not written: the last batch could not make
        up for that.
        """
        records = min(
            round(self.job.records * self.job.engine.pilot_share),
            self.job.records - self.state.records,
        )
        if records <= 0:
            return None
        index = self.state.batches
        made = self.batches.read(index, records, iteration)
        if made is not None and iteration in self.lines:
            self._tally(made)
            return None
        # a batch without its line: killed between the two, so its figures are made again
        size = int(np.clip(40 * records, *PILOT_CANDIDATES))
        chosen = self._choose(records, size, iteration)
        if made is None:
            rows = deal(chosen.counts, 0, 1)
            if self.chooser.takes_too_much(chosen.candidates.codes[rows]):
                return chosen.effort()
            materializer = self._materializer(chosen)
            made = self.batches.make(materializer, rows, iteration, index, self.state.records)
        self._tally(made)
        return chosen.effort()

    def _choose(self, records: int, size: int, iteration: int) -> Chosen:
        chosen = self.chooser.choose(records, size, iteration)
        for text in chosen.notes:
            self._note(text)
        return chosen

    def _materialize(self) -> None:
        """Write what is missing to N from the final prior, file by file."""
        left = self.job.records - self.state.records
        if left <= 0:
            return
        chosen = self._choose(left, self.chooser.candidate_count(left), 0)
        calibration = chosen.calibration
        if not calibration.converged:
            self._note(self.chooser.unmet(calibration, left, chosen.candidates))
        started = self.clock()
        self._stage("writing")
        self._write_bulk(chosen, -(-left // self.job.output.row_group))
        self._note_bulk(**chosen.figures(), seconds_writing=round(self.clock() - started, 3))

    def _note_bulk(self, **figures: Any) -> None:  # noqa: ANN401 - fields of the line
        """Write the line of the bulk, unless it is there."""
        state = self.state
        if not self.bulk.model_fields_set:
            line = Bulk(
                iteration=0,
                stop_reason=state.stop.words,
                groups=state.groups,
                notes=state.notes,
                **figures,
            )
            self.run.append(ITERATIONS, line)

    def _write_bulk(self, chosen: Chosen, groups: int) -> None:
        """Write `groups` files, several at a time; they do not depend on each other."""
        first, counts = self.state.batches, chosen.counts
        materializer = self._materializer(chosen)
        # record k goes to group k mod `groups`
        held = [-(-(int(counts.sum()) - group) // groups) for group in range(groups)]
        begin = self.state.records + np.cumsum([0, *held])

        def make(group: int) -> Held:
            rows = deal(counts, group, groups)
            there = self.batches.read(first + group, len(rows), 0)
            return there or self.batches.make(
                materializer, rows, 0, first + group, int(begin[group])
            )

        for made in in_parallel(make, range(groups)):
            self._tally(made)
            self.listener.progress("writing", self.state.records, self.job.records)

    def _materializer(self, chosen: Chosen) -> Materializer:
        library = {p.id: p for p in self.state.library}
        aims = self.chooser.aims(chosen)
        return Materializer(self.sampler, chosen.candidates, library, aims)

    def _tally(self, made: Held) -> None:
        for counts, held in zip(self.state.counts, made.cells, strict=True):
            counts += held
        for number, records in made.by_proposal.items():
            self.state.made[number] = self.state.made.get(number, 0) + records
        self.state.sums += made.sums
        self.state.records += made.records
        self.state.batches += 1

    def _stage(self, stage: str) -> None:
        self.listener.progress(stage, self.state.records, self.job.records)

    def worst_table(self) -> WorstTable:
        """Return the control table that is furthest off, of the records so far or else the library."""
        if self.state.records:
            held = [counts / counts.sum() for counts in self.state.counts]
        elif self.state.library:
            library = self.state.library
            held = [library_share(library, t, self.tables).ravel() for t in self.tables.control]
        else:
            held = [np.zeros(table.cells) for table in self.tables.control]
        apart = [tvd(t.flat_share, h) for t, h in zip(self.tables.control, held, strict=True)]
        worst = int(np.argmax(apart))
        return WorstTable(name=self.tables.control[worst].name, tvd=round(float(apart[worst]), 6))

    def data_tvd(self) -> float | None:
        """Return the mean TVD of the records so far to the control tables."""
        if not self.state.records:
            return None
        pairs = zip(self.tables.control, self.state.counts, strict=True)
        return float(np.mean([tvd(t.flat_share, c / c.sum()) for t, c in pairs]))

    def _note(self, text: str) -> None:
        if text not in self.state.notes:
            self.state.notes.append(text)
            self.listener.warn(text)

    def _note_iteration(self, iteration: int, found: Round, asking: float, seconds: float) -> None:
        line = self.lines.get(iteration)
        if line is None:
            line = Iteration(
                iteration=iteration,
                calls=found.usage.calls,
                repairs=found.repairs,
                failed_calls=found.failed_calls,
                unread_replies=found.unread,
                proposals_accepted=len(found.proposals),
                proposals_rejected=len(found.rejections),
                mended=sum(plan.mended for plan in found.plans),
                library=len(self.state.library),
                prior_tvd=self.state.priors[-1],
                data_tvd=self.data_tvd(),
                worst_table=self.worst_table(),
                **(asdict(effort) if (effort := self.state.efforts[-1]) else {}),
                records=self.state.records,
                prompt_tokens=found.usage.prompt_tokens,
                completion_tokens=found.usage.completion_tokens,
                cost_usd=found.usage.known_cost_usd,
                so_far=self._used(),
                seconds_used=round(self.asker.seconds_used(), 3) if self.asker else 0.0,
                seconds_asking=round(asking, 3),
                seconds=round(seconds, 3),
            )
            self.run.append(ITERATIONS, line)
        self.listener.iteration(line)

    def _used(self) -> Used:
        """Return what the run has used so far, earlier attempts included."""
        usage = Usage() if self.asker is None else self.asker.budget.usage
        tokens = usage.prompt_tokens + usage.completion_tokens
        return Used(calls=usage.calls, tokens=tokens, cost_usd=usage.known_cost_usd)

    def _write_proposals(self, *, with_records: bool) -> None:
        state = self.state
        made = state.made if with_records else {}
        lines: list[ProposalLine] = [self._accepted(p, made.get(p.id, 0)) for p in state.library]
        lines += state.rejections
        for line in lines:
            line.request = state.requests[line.id]
        lines.sort(key=lambda line: line.id)
        self.run.write_lines(PROPOSALS, lines)

    def _accepted(self, proposal: Proposal, records: int) -> ProposalLine:
        return proposal_line(proposal, records)
