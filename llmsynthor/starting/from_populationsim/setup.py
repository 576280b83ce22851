"""The files of a PopulationSim set-up: settings, controls, totals, seed tables, crosswalk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from llmsynthor.errors import InputError
from llmsynthor.files.inputs import Inputs
from llmsynthor.files.records import RecordFile
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import polars as pl

HOUSEHOLDS, PERSONS, CROSSWALK = "households", "persons", "geo_cross_walk"
_FILES = {
    HOUSEHOLDS: "seed_households.csv",
    PERSONS: "seed_persons.csv",
    CROSSWALK: "geo_cross_walk.csv",
}
_COLUMNS = ("target", "geography", "seed_table", "importance", "control_field", "expression")


class SetupError(InputError):
    """The set-up cannot be read."""


@dataclass(frozen=True)
class Control:
    """A line of `controls.csv`."""

    target: str
    geography: str
    seed_table: str
    importance: float
    field: str
    expression: str
    line: int


@dataclass(frozen=True, eq=False)
class SeedFile:
    """A seed table.

    Attributes:
        path: Where it is.
        frame: Its columns as text, null where a cell is empty; named as the settings rename them.
        columns: Name -> name in the file.
    """

    path: Path
    frame: pl.DataFrame
    columns: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Setup:
    """A set-up as it was read.

    Attributes:
        folder: Where it is.
        settings: Of `settings.yaml`, or nothing.
        controls: In the file's order.
        totals: Geography -> its control totals, as text.
        seeds: The seed tables that are there, by name.
        crosswalk: Or None.
    """

    folder: Path
    settings: Mapping[str, Any]
    controls: tuple[Control, ...]
    totals: Mapping[str, pl.DataFrame]
    seeds: Mapping[str, SeedFile]
    crosswalk: pl.DataFrame | None
    without_totals: Mapping[str, str] = field(default_factory=dict)
    """Geography -> why there are no totals of it."""


def read_setup(folder: Path) -> Setup:
    """Read a set-up: `configs/` and `data/`, or all files in one folder.

    Raises:
        SetupError: A file that must be there is not, or cannot be read.
    """
    if not folder.is_dir():
        raise SetupError(f"{folder}: is no folder")
    settings = _settings(folder)
    controls = _controls(
        _found(folder, settings, _named(settings, "control_file_name") or "controls.csv")
    )
    seeds = {}
    for table in (HOUSEHOLDS, PERSONS):
        path = _path(folder, settings, table)
        if path is not None:
            seeds[table] = _seed(path, settings, table)
    if HOUSEHOLDS not in seeds:
        raise SetupError(
            f"{folder}: there is no {_FILES[HOUSEHOLDS]}, nor in its data/",
            hint="name the folder with the seed data, or the file in `input_table_list` of "
            "settings.yaml",
        )
    crosswalk = _path(folder, settings, CROSSWALK)
    ways = None if crosswalk is None else _seed(crosswalk, settings, CROSSWALK).frame
    totals: dict[str, pl.DataFrame] = {}
    without: dict[str, str] = {}
    for geography in dict.fromkeys(control.geography for control in controls):
        fields = [c.field for c in controls if c.geography == geography]
        found = _totals(folder, settings, geography, fields)
        if isinstance(found, str):
            without[geography] = found
        else:
            totals[geography] = found
    return Setup(folder, settings, controls, totals, seeds, ways, without)


def _settings(folder: Path) -> dict[str, Any]:
    path = next(
        (p for p in (folder / "configs/settings.yaml", folder / "settings.yaml") if p.exists()),
        None,
    )
    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise SetupError(f"{path}: cannot be read ({reason})") from None
    if not isinstance(content, dict):
        raise SetupError(f"{path}: is no mapping of settings")
    return content


def _named(settings: Mapping[str, Any], key: str) -> str | None:
    value = settings.get(key)
    return value if isinstance(value, str) else None


def _entry(settings: Mapping[str, Any], table: str) -> Mapping[str, Any]:
    """Return what the settings say of a table."""
    entries = settings.get("input_table_list")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and entry.get("tablename") == table:
            return entry
    return {}


def _places(folder: Path, settings: Mapping[str, Any]) -> list[Path]:
    data = _named(settings, "data_dir") or "data"
    return [p for p in (folder, folder / data, folder / "data", folder / "configs") if p.is_dir()]


def _find(folder: Path, settings: Mapping[str, Any], name: str) -> Path | None:
    return next((p / name for p in _places(folder, settings) if (p / name).is_file()), None)


def _found(folder: Path, settings: Mapping[str, Any], name: str) -> Path:
    path = _find(folder, settings, name)
    if path is None:
        raise SetupError(f"{folder}: there is no {clean(name)}, nor in its configs/ or data/")
    return path


def _path(folder: Path, settings: Mapping[str, Any], table: str) -> Path | None:
    name = _named(_entry(settings, table), "filename")
    return _found(folder, settings, name) if name else _find(folder, settings, _FILES[table])


def _renamed(settings: Mapping[str, Any], table: str) -> dict[str, str]:
    """Return column of the file -> what PopulationSim calls it."""
    entry = _entry(settings, table)
    for key in ("rename_columns", "column_map"):
        if isinstance(entry.get(key), dict):
            return {str(a): str(b) for a, b in entry[key].items()}
    return {}


def _seed(path: Path, settings: Mapping[str, Any], table: str) -> SeedFile:
    frame = _read(path)
    new = {a: b for a, b in _renamed(settings, table).items() if a in frame.columns}
    columns = {new.get(name, name): name for name in frame.columns}
    return SeedFile(path, frame.rename(new), columns)


def _read(path: Path) -> pl.DataFrame:
    """Read a CSV file as text; lines that begin with `#` are comments."""
    return RecordFile(str(path), Inputs(), comment="#").read().frame


def _totals(
    folder: Path, settings: Mapping[str, Any], geography: str, fields: Iterable[str]
) -> pl.DataFrame | str:
    """Return the totals of a geography, or why there are none."""
    table = f"{geography}_control_data"
    name = _named(_entry(settings, table), "filename")
    if name:
        return _seed(_found(folder, settings, name), settings, table).frame
    files = sorted({p for place in _places(folder, settings) for p in place.glob("*.csv")})
    known = {*_FILES.values(), "controls.csv"}
    best: tuple[int, pl.DataFrame] | None = None
    wanted = set(fields)
    for path in files:
        if path.name in known:
            continue
        frame = _read(path)
        held = len(wanted & set(frame.columns))
        if geography in frame.columns and held and (best is None or held > best[0]):
            best = held, frame
    if best is None:
        return f"no file has the column `{geography}` with totals of its controls"
    return best[1]


def _controls(path: Path) -> tuple[Control, ...]:
    frame = _read(path)
    missing = [name for name in _COLUMNS if name not in frame.columns]
    if missing:
        raise SetupError(f"{path}: has no column `{missing[0]}`; it needs {', '.join(_COLUMNS)}")
    if not frame.height:
        raise SetupError(f"{path}: there are no controls below the header")
    found = []
    for row, entry in enumerate(frame.select(_COLUMNS).fill_null("").rows()):
        words = [str(value).strip() for value in entry]
        try:
            importance = float(words[3] or 1)
        except ValueError:
            importance = -1.0
        if not importance > 0:
            raise SetupError(
                f"{path}:{row + 2}: the importance `{clean(words[3])}` of `{clean(words[0])}` is no "
                "number above 0"
            )
        found.append(Control(words[0], words[1], words[2], importance, words[4], words[5], row + 2))
    return tuple(found)
