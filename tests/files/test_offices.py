"""Downloads of statistical offices in the shapes that they have, written by hand and small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from llmsynthor.cli.main import main
from llmsynthor.job.load import load_job
from llmsynthor.targets.build import load_tables

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from llmsynthor.targets.table import Table

VARIABLES = {
    "sex": {"type": "category", "values": ["male", "female"]},
    "age": {"type": "integer", "min": 0, "max": 99},
}
ACS = {
    "format": "acs",
    "columns": {"level 1": "sex", "level 2": "age"},
    "values": {"sex": {"Male": "male", "Female": "female"}},
}
WANTED = [[10, 20], [30, 40]]


def job_of(folder: Path, content: str, name: str, **more: Any) -> Path:
    (folder / name).write_text(content)
    job = {
        "version": 1,
        "name": "offices",
        "records": 100,
        "variables": VARIABLES,
        "tables": [{"file": name, **more}],
        "provider": {"model": "none"},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job, sort_keys=False))
    return folder / "job.yaml"


def read(folder: Path, content: str, name: str = "t.csv", **more: Any) -> Table:
    return load_tables(load_job(job_of(folder, content, name, **more), [])).tables[0]


def refused(folder: Path, capsys: pytest.CaptureFixture[str], content: str, **more: Any) -> str:
    job = job_of(folder, content, "t.csv", **more)
    assert main(["validate", str(job)]) == 2
    return capsys.readouterr().err


_CELLS = ("Total:", "Total:!!Male:", "Total:!!Male:!!Under 18 years", "Total:!!Male:!!18 years and over",
          "Total:!!Female:", "Total:!!Female:!!Under 18 years", "Total:!!Female:!!18 years and over")  # fmt: skip


def acs_data(first: str, second: str, *, annotated: bool = False) -> str:
    """Return a `-Data.csv`; `annotated` as before 2021, with a column of marks beside each."""
    codes, labels = ["GEO_ID", "NAME"], ["Geography", "Geographic Area Name"]
    for number, label in enumerate(_CELLS, start=1):
        for letter, what in (("E", "Estimate"), ("M", "Margin of Error")):
            codes.append(f"B01001_{number:03d}{letter}")
            labels.append(f"{what}!!{label}")
            if annotated:
                codes.append(f"B01001_{number:03d}{letter}A")
                labels.append(f"Annotation of {what}!!{label}")
    lines = [",".join(codes) + ",", ",".join(labels) + ",", first, second]
    return "".join(f"{line}\n" for line in lines)


TRACT_1 = '1400000US1,"Census Tract 1, Ada County, Idaho",100,*****,30,5,10,3,20,4,70,8,30,6,40,**,'
TRACT_2 = '1400000US2,"Census Tract 2, Ada County, Idaho",9,2,3,1,1,1,2,1,6,1,2,1,4,1,'


def test_the_zip_download_of_data_census_gov_is_read(tmp_path):
    where = {"geo_id": "1400000US1"}
    table = read(tmp_path, acs_data(TRACT_1, TRACT_2), **ACS, where=where)
    assert table.figures.tolist() == WANTED
    assert table.moe.tolist() == [[3, 4], [6, 40]]  # a margin that is not known: the estimate
    where = {"place": "Census Tract 2, Ada County, Idaho"}
    table = read(tmp_path, acs_data(TRACT_1, TRACT_2), **ACS, where=where)
    assert table.figures.tolist() == [[1, 2], [2, 4]]


def test_a_tract_can_be_a_variable(tmp_path):
    columns = {**ACS["columns"], "geo_id": "sex", "level 1": "age"}
    values = {"sex": {"1400000US1": "male", "1400000US2": "female"}}
    cells = "GEO_ID,NAME,B_001E,B_002E,B_003E\nGeography,Geographic Area Name,Estimate!!Total:,Estimate!!Total:!!Under 18 years,Estimate!!Total:!!18 years and over\n1400000US1,One,30,10,20\n1400000US2,Two,70,30,40\n"  # fmt: skip
    more = {"format": "acs", "columns": columns, "values": values, "ignore": ["place"]}
    del more["columns"]["level 2"]
    table = read(tmp_path, cells, **more)
    assert table.figures[table.scope.index("sex")].sum() in (30, 40)
    assert sorted(table.figures.ravel().tolist()) == [10, 20, 30, 40]
    assert table.moe is None


def test_annotations_beside_numbers_are_understood(tmp_path):
    row = '1400000US1,"Tract 1",100,null,-555555555,*****,30,null,5,null,10,null,3,null,20,null,4,null,70,null,8,null,-666666666,-,-222222222,**,40,null,7,null'
    content = acs_data(row, "", annotated=True).replace(",\n", "\n")
    table = read(tmp_path, content, **ACS)
    assert table.figures.tolist() == WANTED  # 30: what the total leaves
    assert table.filled == 1
    assert table.moe[0].tolist() == [3, 4]


def test_american_factfinder_is_read(tmp_path):
    labels = ["Total:", "Male:", "Male: - Under 18 years", "Male: - 18 years and over", "Female:",
              "Female: - Under 18 years", "Female: - 18 years and over"]  # fmt: skip
    names = [f"{what}; {label}" for label in labels for what in ("Estimate", "Margin of Error")]
    codes = [f"HD0{1 + i % 2}_VD{1 + i // 2:02d}" for i in range(len(names))]
    figures = [100, 0, 30, 5, 10, 3, 20, 4, 70, 8, 30, 6, 40, 7]
    content = (
        f"GEO.id,GEO.id2,GEO.display-label,{','.join(codes)}\n"
        f"Id,Id2,Geography,{','.join(names)}\n"
        f'0500000US16001,16001,"Ada County, Idaho",{",".join(map(str, figures))}\n'
    )
    table = read(tmp_path, content, **ACS)
    assert table.figures.tolist() == WANTED
    assert table.moe.tolist() == [[3, 4], [6, 7]]


def test_a_decennial_table_has_no_margins(tmp_path):
    content = (
        '"Label (Grouping)","Ada County, Idaho"\n"Total:","100"\n"    Male:","30"\n'
        '"        Under 18 years","10"\n"        18 years and over","20"\n"    Female:","70"\n'
        '"        Under 18 years","30"\n"        18 years and over","40"\n'
    )
    table = read(tmp_path, content, **ACS)
    assert table.figures.tolist() == WANTED
    assert table.moe is None


def test_the_innermost_labels_alone_are_read(tmp_path):
    """Tables of one variable are nested unevenly: their labels say it all."""
    content = (
        '"Label (Grouping)","Ada County!!Estimate","Ada County!!Margin of Error"\n'
        '"Total:","100","±0"\n"    Car, truck, or van:","60","±5"\n"        Drove alone","50","±4"\n'
        '"        Carpooled","10","±3"\n"    Walked","40","*****"\n'
    )
    job = job_of(
        tmp_path,
        content,
        "t.csv",
        format="acs",
        columns={"label": "mode"},
        values={"mode": {"Drove alone": "car", "Carpooled": "shared", "Walked": "foot"}},
    )
    text = yaml.safe_load(job.read_text())
    text["variables"] = {"mode": {"type": "category", "values": ["car", "shared", "foot"]}}
    job.write_text(yaml.safe_dump(text))
    table = load_tables(load_job(job, [])).tables[0]
    assert table.figures.tolist() == [50, 10, 40]
    assert table.moe.tolist() == [4, 3, 0]


def test_codes_without_labels_are_refused(tmp_path, capsys):
    content = "GEO_ID,NAME,B01001_001E\n1400000US1,One,30\n"
    assert refused(tmp_path, capsys, content, **ACS) == (
        "error: t.csv:2: the row below the codes should say what they count, such as "
        "`Estimate!!Total:`, and begins with `1400000US1`\n\n"
        "hint: take the CSV of the ZIP download of data.census.gov, with both its header rows\n"
    )


def test_another_file_is_no_table_of_the_bureau(tmp_path, capsys):
    assert refused(tmp_path, capsys, "sex,age,count\nmale,1,2\n", **ACS) == (
        "error: t.csv:1: `format: acs` needs a first column `Label (Grouping)` or `GEO_ID`, here is "
        "`sex`\n\nhint: download it from data.census.gov as CSV of the table, or leave `format` out\n"
    )


TITLE = '"TS009 - Sex by single year of age"\n"ONS Crown Copyright Reserved [from Nomis on 1 May 2024]"\n\n'
NOMIS = {"format": "nomis", "columns": {"Age": "age"}}
SEXES = {"wide": {"variable": "sex", "columns": {"Females": "female", "Males": "male"}}}
NOTES = '\n"In order to protect against disclosure of personal information, records have been swapped."\n'


def test_a_blank_line_below_the_header_and_between_rows_of_nomis(tmp_path):
    content = (
        TITLE + '"Population :","All usual residents"\n"Units      :","Persons"\n"Date       :","2021"\n\n'
        '"Age","mnemonic","Males","Females"\n\n"Aged 17 years and under","a",10,30\n\n'
        '"Aged 18 years and over","a",20,40\n' + NOTES
    )  # fmt: skip
    table = read(tmp_path, content, **NOMIS, **SEXES)
    assert dict(zip(table.scope, table.figures.shape, strict=True)) == {"age": 2, "sex": 2}
    assert table.figures.T.tolist() == WANTED if table.scope == ("age", "sex") else WANTED


def test_several_tables_of_one_download_are_told_apart(tmp_path):
    def part(sex: str, low: int, high: int) -> str:
        return (
            f'"Date","2021"\n"Gender","{sex}"\n\n"Age","2021"\n'
            f'"Aged 17 years and under",{low}\n"Aged 18 years and over",{high}\n\n'
        )

    content = TITLE + part("Male", 10, 20) + part("Female", 30, 40) + NOTES
    values = {"sex": {"Male": "male", "Female": "female"}}
    columns = {"Age": "age", "Gender": "sex", "2021": "count"}
    table = read(tmp_path, content, format="nomis", columns=columns, values=values)
    assert table.scope == ("sex", "age")
    assert table.figures.tolist() == WANTED


def test_tables_of_nomis_that_differ_are_refused(tmp_path, capsys):
    content = TITLE + '"Age","Males"\n"Aged 17 years and under",10\n\n"Sex","All"\n"Males",30\n'
    job = job_of(tmp_path, content.replace('"Sex","All"', '"Note","x"\n\n"Sex","All","%"').replace('"Males",30', '"Males",30,1'), "t.csv", **NOMIS)  # fmt: skip
    assert main(["validate", str(job)]) == 2
    assert capsys.readouterr().err == (
        "error: t.csv:9: this table has other columns than the one on line 4\n\n"
        "hint: put each table into a file of its own\n"
    )


def test_the_bulk_file_of_a_census_is_read(tmp_path):
    content = (
        "date,geography,geography code,Age: Total,Age: Aged 17 years and under,"
        "Age: Aged 18 years and over\n"
        "2021,Foo 001A,E01000001,30,10,20\n2021,Foo 001B,E01000002,70,30,40\n"
    )
    table = read(
        tmp_path,
        content,
        format="nomis",
        where={"geography code": "E01000002"},
        wide={"variable": "age", "pattern": "Age: {age}"},
        ignore="others",
    )
    assert table.figures.tolist() == [30, 40]


def test_what_the_api_of_nomis_gives_is_read(tmp_path):
    head = "DATE_NAME,GEOGRAPHY_NAME,GEOGRAPHY_CODE,GENDER_NAME,C_AGE_NAME,MEASURES_NAME,OBS_VALUE,OBS_STATUS_NAME\n"
    rows = [("Male", "Aged 0 - 17", 10), ("Male", "Aged 18+", 20), ("Female", "Aged 0 - 17", 30), ("Female", "Aged 18+", 40)]  # fmt: skip
    content = head + "".join(f'"2021","Foo","E06000001","{s}","{a}","value",{n},"Normal Value"\n' for s, a, n in rows)  # fmt: skip
    table = read(
        tmp_path,
        content,
        format="nomis",
        columns={"GENDER_NAME": "sex", "C_AGE_NAME": "age", "OBS_VALUE": "count"},
        values={"sex": {"Male": "male", "Female": "female"}},
    )
    assert table.figures.tolist() == WANTED


def test_flags_of_eurostat_in_all_their_forms(tmp_path):
    content = (
        "freq,unit,age,sex,geo\\TIME_PERIOD\t2021 \t2022 \n"
        "A,NR,Y_LT18,M,AT\t: \t10 b\nA,NR,Y_GE18,M,AT\t:\t20 bep\n"
        "A,NR,Y_LT18,F,AT\t: z\t30 \nA,NR,Y_GE18,F,AT\t:c\t40 p\nA,NR,TOTAL,T,AT\t1\t100\n"
    )
    values = {"sex": {"M": "male", "F": "female"}}
    where = {"time": "2022"}
    table = read(tmp_path, content, "t.tsv", format="eurostat", where=where, values=values)
    by_sex = table.figures if table.scope == ("sex", "age") else table.figures.T
    assert by_sex.tolist() == WANTED


def test_the_older_header_of_eurostat(tmp_path):
    content = "unit,age,sex,geo\\time\t2015 \nNR,Y_LT18,M,AT\t10 \nNR,Y_GE18,M,AT\t20 \nNR,Y_LT18,F,AT\t30 \nNR,Y_GE18,F,AT\t40 e\n"
    values = {"sex": {"M": "male", "F": "female"}}
    table = read(tmp_path, content, "t.tsv", format="eurostat", values=values)
    by_sex = table.figures if table.scope == ("sex", "age") else table.figures.T
    assert by_sex.tolist() == WANTED
