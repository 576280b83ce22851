"""A new provider, export or office's form is one class and one entry: help, schema and pages follow."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from small_job import plan, proposal, report, write_job

from llmsynthor.cli.main import main
from llmsynthor.files.offices import form_of
from llmsynthor.files.rows import TextTable
from llmsynthor.job.model import job_schema
from llmsynthor.job.providers import PROVIDERS, ProviderKind
from llmsynthor.job.reference import job_reference
from llmsynthor.job.tables import OFFICES, Office
from llmsynthor.llm.providers.base import Reply
from llmsynthor.results.exports.asked import opened
from llmsynthor.results.exports.formats import EXPORTS, Format

if TYPE_CHECKING:
    from llmsynthor.llm.providers.base import Request, Setup

PAGE = Path(__file__).parents[2] / "docs" / "exports.md"
HERE = "one_entry_each"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])


def schema_of(key: str, part: str) -> dict[str, Any]:
    return job_schema()["$defs"][part]["properties"][key]


class Parrot:
    """A provider that says the same of everything, in as many words as its name has."""

    counts = "about"

    def __init__(self, setup: Setup) -> None:
        self.words = setup.spec.model.removeprefix("parrot:")

    def check(self) -> None:
        pass

    def count_tokens(self, _: Request) -> int:
        return len(self.words)

    def price(self) -> tuple[float, float]:
        return 0.0, 0.0

    def complete(self, _: Request) -> Reply:
        return Reply(text=plan(proposal(len(self.words))), model="a parrot", cost_usd=0.0)

    def close(self) -> None:
        pass


def test_a_provider(tmp_path, monkeypatch, capsys):
    kind = ProviderKind("`parrot:WORDS` for a bird", f"{HERE}:Parrot", in_vain=("rpm",))
    monkeypatch.setitem(PROVIDERS, "parrot:", kind)
    job, out = write_job(tmp_path, provider={"model": "parrot:hello"}), tmp_path / "out"
    assert main(["run", str(job), "--out", str(out), "-q"]) == 0
    assert "a parrot" in (out / "report.json").read_text()
    capsys.readouterr()
    assert main(["preview", str(job), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prompt"]["tokens"] == len("hello")
    assert main(["validate", str(job), "--set", "provider.rpm=3"]) == 2
    assert "has no effect with `provider.model: parrot:`" in capsys.readouterr().err
    assert "`parrot:WORDS` for a bird" in schema_of("model", "ProviderSpec")["description"]
    assert "`parrot:WORDS` for a bird" in job_reference(job_schema())


def names_file(run, options):
    """Write the names of a run's variables."""

    def write(records, columns, file):
        file.write("\n".join(v.name for v in records.variables).encode())

    asked = opened(run, options)
    return asked.written({options.file("names.txt"): (asked.records, ())}, write)


def test_an_export(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(EXPORTS, "names", Format(f"{HERE}:names_file", ("--gzip",)))
    job, out = write_job(tmp_path), str(tmp_path / "out")
    assert main(["run", str(job), "--out", out, "-q"]) == 0
    command = ["export", out, "--format", "names", "--out", str(tmp_path)]
    assert main(command) == 0
    assert (tmp_path / "names.txt").read_text() == "age\nwork\nmode"
    assert main([*command, "--provenance"]) == 2
    assert "`--provenance` means nothing for `--format names`" in capsys.readouterr().err
    assert main(["export", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "<csv|parquet|activitysim|populationsim|matsim|dictionary|names>" in told
    assert "Compress (csv, matsim, names)." in told
    rows = re.findall(r"^\| `([a-z]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(EXPORTS) - set(rows) == {"names"}  # so the test of the page asks for a row


class Backwards:
    """A form whose columns stand behind each other, the figure first."""

    MISSING: ClassVar = {"nobody": 0.0}

    @staticmethod
    def read_form(_, rows):
        header, *body = [row.cells[::-1] for row in rows]
        columns = {name: [row[i] for row in body] for i, name in enumerate(header)}
        return TextTable(columns, [row.line for row in rows[1:]])


def test_an_offices_form(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(OFFICES, "backwards", Office(f"{HERE}:Backwards", "any file", "|"))
    tables = [{"file": "odd.txt", "format": "backwards"}]
    job = write_job(tmp_path, tables=tables, rules=[])
    (tmp_path / "odd.txt").write_text("count|mode\n400|car\n200|bus\nnobody|walk\n")
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    assert report(tmp_path / "out")["records"]["made"] == 600
    schema = schema_of("format", "TableSpec")
    assert schema["anyOf"][0]["enum"] == ["acs", "eurostat", "nomis", "backwards"]
    assert "`backwards` (any file)" in schema["description"]
    assert "`nomis`, `backwards`" in job_reference(job_schema())
    wrong = write_job(tmp_path, tables=[{"file": "odd.txt", "format": "sideways"}])
    assert main(["validate", str(wrong)]) == 2
    assert "tables.0.format: must be `acs`, `eurostat`" in capsys.readouterr().err


def test_every_entry_leads_somewhere():
    assert all(callable(resolve_name(known.writer)) for known in EXPORTS.values())
    assert all(callable(form_of(name).read_form) for name in OFFICES)
    sources = [kind.source for kind in PROVIDERS.values() if kind.source is not None]
    assert all(callable(resolve_name(source)) for source in sources)
