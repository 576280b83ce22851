"""The model of a job's zones, and of who works on their chunks."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmsynthor.job.file_form import Encoding, Separator, check_text_keys
from llmsynthor.job.variables import JobModel


class ZonesSpec(JobModel):
    """Zones: a variable of very many categories, with a file that says which zones there are."""

    variable: str = Field(
        min_length=1,
        description="The zone variable. It need not stand under `variables`: the crosswalk names "
        "its categories.",
        examples=["taz"],
    )
    crosswalk: str = Field(
        min_length=1,
        description="CSV, TSV, parquet or XLSX file, relative to the job file: one row for each zone, with the "
        "zone and what it lies within.",
        examples=["geo.csv"],
    )
    within: list[str] = Field(
        default_factory=list,
        description="Columns of the crosswalk with coarser geographies, such as `tract`: tables may "
        "have them in place of the zone, and records get them as further columns.",
        examples=[["tract", "region"]],
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Column of the crosswalk -> the zone variable or a name in `within`.",
        examples=[{"TAZ": "taz"}],
    )
    separator: Separator | None = Field(
        None,
        description="What stands between the columns of the crosswalk; default: a comma, in .tsv and "
        ".tab a tab.",
    )
    encoding: Encoding | None = Field(
        None,
        description="How the crosswalk's characters are stored; default: UTF-8, or as its mark says.",
    )
    sheet: str | None = Field(
        None, min_length=1, description="Sheet of a crosswalk in XLSX, if it has several."
    )
    chunk_records: int = Field(
        30_000,
        ge=1,
        description="Records of one chunk of zones, about: a chunk is worked on by itself. Fewer "
        "take less memory.",
    )

    @model_validator(mode="after")
    def _distinct(self) -> ZonesSpec:
        check_text_keys(self, self.crosswalk)
        names = [self.variable, *self.within]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"`{name}` is named twice in `variable` and `within`")
            if name in ("count", "share", "moe"):
                raise ValueError(f"`{name}` cannot name a geography: tables use it")
        for column, name in self.columns.items():
            if name not in names:
                near = get_close_matches(name, names, n=1, cutoff=0.6)
                raise ValueError(
                    f"`columns` maps `{column}` to `{name}`, which is neither the zone variable "
                    f"`{self.variable}` nor in `within`"
                    + (f"; did you mean `{near[0]}`?" if near else "")
                )
        return self


class DaskSpec(JobModel):
    """Dask workers: those of a scheduler that runs, or some on this machine."""

    address: str | None = Field(
        None,
        pattern=r"^[a-z]+://",
        description="Address of a scheduler that runs. Its workers must see the run directory.",
        examples=["tcp://10.0.0.1:8786"],
    )
    workers: int | None = Field(None, ge=1, description="Workers to start on this machine.")

    @model_validator(mode="after")
    def _one(self) -> DaskSpec:
        if (self.address is None) == (self.workers is None):
            raise ValueError("give exactly one of `address` and `workers`")
        return self


class SlurmSpec(JobModel):
    """Dask workers in Slurm jobs, which `run` submits by `sbatch` and ends when it is done."""

    jobs: int = Field(ge=1, description="Slurm jobs to submit.", examples=[10])
    cores: int = Field(1, ge=1, description="Cores of one job; each makes a chunk at a time.")
    memory: str = Field(
        "2GB",
        pattern=r"^\d+(\.\d+)?\s*[kMGT]i?B$",
        description="Memory of one job, for example `4GB`.",
        examples=["4GB"],
    )
    walltime: str = Field(
        "01:00:00", pattern=r"^[\d:-]+$", description="Longest time of one job, as Slurm has it."
    )
    queue: str | None = Field(None, min_length=1, description="Partition; default: the site's.")
    account: str | None = Field(None, min_length=1, description="Account that is charged.")
    interface: str | None = Field(
        None, min_length=1, description="Network interface of the scheduler and the workers."
    )
    directives: list[str] = Field(
        default_factory=list,
        description="Further `#SBATCH` options.",
        examples=[["--constraint=cpu"]],
    )
    prologue: list[str] = Field(
        default_factory=list,
        description="Lines of the job's script before the worker starts.",
        examples=[["module load python"]],
    )


class ExecutorSpec(JobModel):
    """Who makes the chunks of zones; the records do not depend on it."""

    processes: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="Processes on this machine; `auto`, which is the default: one a core."
    )
    dask: DaskSpec | None = Field(None, description="Dask workers (extra `dask`).")
    slurm: SlurmSpec | None = Field(None, description="Workers in Slurm jobs (extra `dask`).")

    @model_validator(mode="after")
    def _one(self) -> ExecutorSpec:
        given = [n for n in ("processes", "dask", "slurm") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of `{'` and `'.join(given)}`")
        return self
