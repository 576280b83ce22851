"""Files of a job that are given in memory: as if they were files, in records and in messages."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from small_job import TABLES, job_content, write_job

from llmsynthor.app.prepare import prepare
from llmsynthor.app.run import RunOptions, run_job
from llmsynthor.cli.main import main
from llmsynthor.errors import InputError, JobError
from llmsynthor.files.inputs import Inputs
from llmsynthor.job.load import LoadedJob
from llmsynthor.job.model import Job

if TYPE_CHECKING:
    from collections.abc import Mapping

SEED = "key,age,work,mode\n" + "".join(
    f"p{i},{18 + i},{('yes', 'no')[i % 2]},{('car', 'bus', 'walk')[i % 3]}\n" for i in range(60)
)
SAMPLE = {"seed_sample": {"file": "seed.csv", "key": "key"}}


class Silent:
    def iteration(self, line: dict[str, Any]) -> None: ...

    def progress(self, stage: str, done: int, whole: int) -> None: ...

    def warn(self, text: str) -> None: ...


def polars_frame(text: str) -> Any:
    return pl.read_csv(io.StringIO(text))


def pandas_frame(text: str) -> Any:
    return pytest.importorskip("pandas").read_csv(io.StringIO(text))


def as_bytes(text: str) -> Any:
    return text.encode()


def made(given: Mapping[str, Any], **changes: Any) -> LoadedJob:
    job = Job.model_validate(job_content(**changes))
    return LoadedJob(job, Path("nowhere", "job.yaml"), frames=given)


def refused(given: Mapping[str, Any], **changes: Any) -> str:
    with pytest.raises(InputError) as caught:
        prepare(made(given, **changes))
    return str(caught.value)


def data_of(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (out / "data").iterdir()}


@pytest.mark.parametrize("as_given", [polars_frame, pandas_frame, as_bytes])
def test_a_job_of_frames_makes_the_records_of_the_same_files(tmp_path, as_given):
    path = write_job(tmp_path, **SAMPLE)
    (tmp_path / "seed.csv").write_text(SEED)
    assert main(["run", str(path), "--out", str(tmp_path / "of_files"), "-q"]) == 0
    given = {name: as_given(text) for name, text in {**TABLES, "seed.csv": SEED}.items()}
    prepared = prepare(made(given, **SAMPLE))
    run_job(prepared, RunOptions(tmp_path / "of_frames"), Silent())
    assert data_of(tmp_path / "of_frames") == data_of(tmp_path / "of_files")
    hashes = {n: hashlib.sha256(t.encode()).hexdigest() for n, t in TABLES.items()}
    hashes["seed.csv"] = hashlib.sha256(SEED.encode()).hexdigest()
    assert prepared.inputs == hashes


def test_what_is_wrong_in_a_frame_is_said_with_its_line():
    frames = {name: polars_frame(text) for name, text in TABLES.items()}
    frames["work.csv"] = pl.DataFrame({"work": ["yes", "na"], "count": [400, 200]})
    assert refused(frames).startswith("work.csv:3: `na` is no category of `work` (known: no, yes)")


def test_a_frame_that_no_part_of_the_job_names_is_refused():
    frames = {name: polars_frame(text) for name, text in TABLES.items()}
    frames["seeds.csv"] = polars_frame(SEED)
    assert "`seeds.csv` is given, and the job names no such file\n" in refused(frames) + "\n"
    frames["seed.csv"] = polars_frame(SEED)
    assert refused(frames, **SAMPLE) == (
        "`seeds.csv` is given, and the job names no such file; did you mean `seed.csv`?"
    )


def test_a_file_that_is_neither_given_nor_there_is_missed():
    frames = {name: polars_frame(text) for name, text in TABLES.items() if name != "mode.csv"}
    assert refused(frames) == "mode.csv: no such file: there is no folder nowhere"


@pytest.mark.parametrize(
    ("name", "frame", "words"),
    [
        (
            "age.parquet",
            pl.DataFrame({"a": [1]}),
            "`age.parquet` is given as a frame; its name must end in .csv or .tsv",
        ),
        (
            "age.csv",
            {"age": [1]},
            "`age.csv` is given as dict; give a polars or pandas frame, or bytes",
        ),
        (
            "age.csv",
            None,
            "`age.csv` is given as NoneType; give a polars or pandas frame, or bytes",
        ),
    ],
)
def test_what_is_no_frame_is_refused(name, frame, words):
    with pytest.raises(JobError) as caught:
        Inputs(given={name: frame})
    assert str(caught.value) == words


def test_a_frame_has_the_separator_of_its_name_and_a_named_index_as_column():
    frame = pl.DataFrame({"a": ["x;y", "z"], "count": [1, 2]})
    assert Inputs(given={"a.tsv": frame}).read("a.tsv") == b"a\tcount\nx;y\t1\nz\t2\n"
    pandas = pytest.importorskip("pandas")
    counts = pandas.DataFrame({"age": ["old", "old", "young"]}).groupby("age").size()
    series = counts.rename("count")
    assert Inputs(given={"a.csv": series}).read("a.csv") == b"age,count\nold,2\nyoung,1\n"
    plain = pandas.DataFrame({"age": ["old"], "count": [2]})
    assert Inputs(given={"a.csv": plain}).read("a.csv") == b"age,count\nold,2\n"
