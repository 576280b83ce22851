"""The engine of a job with zones: it asks without zones, then shares the regional tables out to chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from llmsynthor.candidates.boxes import ANY
from llmsynthor.candidates.library import proposal_line, read_library
from llmsynthor.candidates.sampler import Sampler
from llmsynthor.engine.choose import Chooser
from llmsynthor.engine.loop import PILOT_CANDIDATES, Engine
from llmsynthor.engine.state import State
from llmsynthor.llm.providers.base import Stop
from llmsynthor.store.chunks import (
    LIBRARY,
    PLAN,
    Plan,
    Planned,
    range_named,
    read_plan,
    write_sample,
    write_task,
)
from llmsynthor.targets.by_zone import of_chunk, whole

if TYPE_CHECKING:
    from llmsynthor.candidates.proposals import Proposal, ProposalLine
    from llmsynthor.engine.choose import Chosen
    from llmsynthor.engine.stopping import Effort
    from llmsynthor.engine.zones.plan import Zoned
    from llmsynthor.llm.providers.base import StopKind


@dataclass(eq=False)
class ZoneEngine(Engine):
    """Asks as the engine does, with a sampler that knows no zones, and makes the chunks ready."""

    zoned: Zoned

    def execute(self) -> State:
        """Make the chunks ready, unless they are; nothing is asked once they are."""
        plan = read_plan(self.run)
        if plan is None:
            return super().execute()
        self.state.stop = Stop(cast("StopKind | None", plan.stop_kind), plan.stop_reason)
        return self.state

    def _pilot(self, iteration: int) -> Effort | None:
        """Return what fitting the proposals to the regional tables takes; no batch is written."""
        records = round(self.job.records * self.job.engine.pilot_share)
        if records <= 0 or iteration in self.lines:
            return None
        size = int(np.clip(40 * records, *PILOT_CANDIDATES))
        return self._choose(records, size, iteration).effort()

    def _materialize(self) -> None:
        """Write what each chunk must meet, and at last the plan."""
        lines = [self._accepted(proposal, 0) for proposal in self.state.library]
        self.run.write_lines(LIBRARY, lines)
        if self.sampler.sample is not None:
            write_sample(self.run, self.sampler.sample)
        coarse, state = None, self.state
        if len(self.zoned.chunking) == 1:
            write_task(self.run, 0, whole(self.zoned.tables))
            records = [self.job.records]
        else:
            chosen = self._coarse(lines)
            records = self._share_out(chosen)
            coarse = chosen.figures()
        plan = Plan(
            chunks=self._planned(records),
            stop_reason=state.stop.words,
            stop_kind=state.stop.kind,
            groups=state.groups,
            notes=state.notes,
            coarse=coarse,
        )
        self.run.write_json(PLAN, plan)

    def _coarse(self, lines: list[ProposalLine]) -> Chosen:
        """Return records over chunks in place of zones, which meet every table summed to chunks."""
        self._stage("sharing out")
        tables = self.zoned.coarse
        sample = self.sampler.sample
        if sample is not None:
            sample = sample.with_zone(tables.wide.positions[self.zoned.variable])
        sampler = Sampler(tables, self.sampler.rules, self.job.seed, self.zoned.known, sample)
        state = State(counts=[np.zeros(table.cells) for table in tables.control])
        state.library = read_library(lines, tables)
        chooser = Chooser(self.job, sampler, state, self.clock, zone=self.zoned.variable)
        records = self.job.records
        chosen = chooser.choose(records, chooser.candidate_count(records), 0)
        for text in chosen.notes:
            self._note(f"sharing out to chunks: {text}")
        if not chosen.calibration.converged:
            self._note(f"sharing out to chunks: {chooser.unmet(chosen.calibration, records)}")
        return chosen

    def _share_out(self, chosen: Chosen) -> list[int]:
        """Write what each chunk must meet; return how many records each makes."""
        chunking, tables = self.zoned.chunking, self.zoned.tables
        held = np.flatnonzero(chosen.counts)
        codes, counts = chosen.candidates.codes[held], chosen.counts[held]
        column = self.zoned.coarse.wide.positions[self.zoned.variable]
        chunk = chunking.chunk_of_part[codes[:, column]]
        order = np.argsort(chunk, kind="stable")
        ends = np.searchsorted(chunk[order], np.arange(len(chunking) + 1))
        records = []
        for number in range(len(chunking)):
            rows = order[ends[number] : ends[number + 1]]
            own = np.repeat(codes[rows], counts[rows], axis=0)
            records.append(len(own))
            if len(own):
                small = of_chunk(tables, chunking, number, self.job.records, own)
                write_task(self.run, number, small)
        return records

    def _planned(self, records: list[int]) -> list[Planned]:
        zones, first, begin, found = self.zoned.tables.zones, 0, 0, []
        for number, own in enumerate(records):
            files = -(-own // self.job.output.row_group)
            codes = self.zoned.chunking.zones[number]
            labels = [zones.labels[code] for code in codes] if zones is not None else []
            found.append(
                Planned(
                    number=number,
                    records=own,
                    first_file=first,
                    files=files,
                    zones=len(codes),
                    named=range_named(labels),
                    first_record=begin,
                )
            )
            first, begin = first + files, begin + own
        return found

    def _write_proposals(self, *, with_records: bool) -> None:  # noqa: ARG002
        """Write the proposals so far; how many records each made is known when all chunks are done."""
        super()._write_proposals(with_records=False)

    def _accepted(self, proposal: Proposal, records: int) -> ProposalLine:
        """Return a proposal's line; it leaves the zone to the tables."""
        line = proposal_line(proposal, records)
        return line.model_copy(update={"values": {**line.values, self.zoned.variable: ANY}})
