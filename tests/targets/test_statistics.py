"""Means, sums, quantiles and rates: met in the records beside tables, through the command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import household_job
import numpy as np
import polars as pl
import pytest
import yaml
from scripted_server import ScriptedServer
from small_job import data_hash, plan_for, provider, report, write_job

from llmsynthor.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

NEAR = 1e-3
SHOPS = ["food", "books", "toys"]


def written(folder: Path, content: dict, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    job = folder / "job.yaml"
    job.write_text(yaml.safe_dump(content, sort_keys=False))
    return job


def run(job: Path, *more: str) -> Path:
    out = job.parent / "out"
    assert main(["run", str(job), "--out", str(out), "-q", "--overwrite", *more]) == 0
    return out


def truth(seed: int, people: int = 4000) -> pl.DataFrame:
    """Return real records whose statistics are published: what they have can be had."""
    random = np.random.default_rng(seed)
    shop = random.choice(SHOPS, people, p=[0.5, 0.3, 0.2])
    member = random.random(people) < np.where(shop == "books", 0.7, 0.3)
    factor = np.array([SHOPS.index(s) + 1.0 for s in shop]) * np.where(member, 1.6, 1.0)
    price = np.clip(np.round(random.exponential(9.0 * factor), 2), 0.01, 500)
    age = np.clip(np.round(random.normal(35 + 6 * factor, 12)), 18, 90).astype(int)
    return pl.DataFrame(
        {"shop": shop, "member": np.where(member, "yes", "no"), "price": price, "age": age}
    )


def published(frame: pl.DataFrame) -> dict[str, str]:
    """Return tables and statistics of the records, as an office would publish them."""
    by_shop = frame.group_by("shop").agg(
        mean=pl.col("price").mean(),
        median=pl.col("price").quantile(0.5, "lower"),
        q90=pl.col("price").quantile(0.9, "lower"),
    )
    ages = frame.group_by("member").agg(mean=pl.col("age").mean())
    rates = frame.group_by("shop").agg(rate=(pl.col("member") == "yes").mean())
    band = np.array(["18-29", "30-44", "45-59", "60+"])[
        np.searchsorted([30, 45, 60], frame["age"].to_numpy(), side="right")
    ]
    bands = pl.DataFrame({"age": band})
    counts = {
        "shop.csv": frame.group_by("shop").len("count"),
        "age.csv": bands.group_by("age").len("count"),
        "price.csv": by_shop,
        "ages.csv": ages,
        "rates.csv": rates,
    }
    return {name: table.sort(table.columns[0]).write_csv() for name, table in counts.items()}


def content(people: int, **changes: object) -> dict:
    job = {
        "version": 1,
        "name": "orders",
        "records": people,
        "variables": {
            "shop": {"type": "category", "values": SHOPS},
            "member": {"type": "category", "values": ["yes", "no"]},
            "price": {"type": "number", "min": 0, "max": 500},
            "age": {"type": "integer", "min": 18, "max": 90},
        },
        "tables": [{"file": "shop.csv"}, {"file": "age.csv"}],
        "statistics": [
            {"file": "price.csv", "of": "price"},
            {"file": "ages.csv", "of": "age"},
            {"file": "rates.csv", "of": {"member": "yes"}},
        ],
        "provider": {"model": "none"},
        "engine": {"candidates": 30000},
    }
    return job | changes


@pytest.mark.parametrize("seed", [1, 2, 7])
def test_statistics_of_real_records_are_met_beside_tables_on_the_same_variables(tmp_path, seed):
    real = truth(seed)
    out = run(written(tmp_path, content(len(real)), published(real)))
    made = pl.read_parquet(out / "data" / "*.parquet")
    for shop in SHOPS:
        wanted, held = (f.filter(pl.col("shop") == shop) for f in (real, made))
        assert len(held) == len(wanted)
        assert held["price"].mean() == pytest.approx(wanted["price"].mean(), rel=NEAR)
        for level in (0.5, 0.9):
            target = wanted["price"].quantile(level, "lower")
            assert held["price"].quantile(level, "lower") == pytest.approx(
                target, rel=NEAR, abs=0.01
            )
        rate = (held["member"] == "yes").mean()
        assert abs(rate - (wanted["member"] == "yes").mean()) * len(held) <= 1
    for member in ("yes", "no"):
        wanted, held = (f.filter(pl.col("member") == member)["age"].mean() for f in (real, made))
        assert held == pytest.approx(wanted, rel=NEAR)
    assert all(table["tae"] == 0 for table in report(out)["tables"])
    entries = report(out)["statistics"]
    assert {e["measure"] for e in entries} == {"mean", "median", "q90", "rate"}
    assert all(e["pass"] for e in entries)


def test_a_mean_is_met_where_bins_are_single_numbers(tmp_path):
    """Nothing can move inside its bin: records swap their numbers."""
    files = {
        "rooms.csv": "rooms,count\n1,300\n2,500\n3,700\n4,300\n5,200\n",
        "tenure.csv": "tenure,count\nowned,1200\nrented,800\n",
        "mean.csv": "tenure,mean\nowned,3.21\nrented,2.185\n",
    }
    variables = {
        "rooms": {"type": "integer", "min": 1, "max": 5},
        "tenure": {"type": "category", "values": ["owned", "rented"]},
    }
    job = content(
        2000,
        variables=variables,
        tables=[{"file": "rooms.csv"}, {"file": "tenure.csv"}],
        statistics=[{"file": "mean.csv", "of": "rooms"}],
    )
    out = run(written(tmp_path, job, files))
    made = (
        pl.read_parquet(out / "data" / "*.parquet").group_by("tenure").agg(pl.col("rooms").mean())
    )
    assert dict(made.iter_rows()) == pytest.approx({"owned": 3.21, "rented": 2.185}, rel=NEAR)
    assert all(table["tae"] == 0 for table in report(out)["tables"])


def test_a_whole_median_leaves_the_table_on_the_same_variable_exact(tmp_path):
    files = {"shop.csv": "shop,count\nfood,900\nbooks,600\ntoys,500\n"}
    files["age.csv"] = "age,count\n" + "".join(
        f"{a},{30 if a < 58 else 25}\n" for a in range(18, 90)
    )
    files["shop.csv"] = "shop,count\nfood,1000\nbooks,600\ntoys,400\n"
    files["median.csv"] = "shop,median,q25\nfood,41,28\nbooks,,35\ntoys,66,50\n"
    job = content(2000, statistics=[{"file": "median.csv", "of": "age"}])
    del job["variables"]["member"]
    out = run(written(tmp_path, job, files))
    made = pl.read_parquet(out / "data" / "*.parquet")
    for shop, level, value in (("food", 0.5, 41), ("toys", 0.5, 66), ("books", 0.25, 35)):
        ages = made.filter(pl.col("shop") == shop)["age"]
        assert (ages < value).mean() <= level <= (ages <= value).mean()
    assert all(table["tae"] == 0 for table in report(out)["tables"])


def test_a_median_between_whole_numbers_is_read_as_census_offices_publish_it(tmp_path):
    files = {"shop.csv": "shop,count\nfood,1000\nbooks,600\ntoys,400\n"}
    job = content(
        2000,
        tables=[{"file": "shop.csv"}],
        statistics=[{"of": "age", "figures": {"median": 38.4}}],
    )
    out = run(written(tmp_path, job, files))
    ages = pl.read_parquet(out / "data" / "*.parquet")["age"]
    below, at = (ages < 38).mean(), (ages == 38).mean()
    assert 38 + (0.5 - below) / at == pytest.approx(38.4, rel=NEAR)
    (entry,) = report(out)["statistics"]
    assert entry["groups"][0]["records"] == pytest.approx(38 + (0.5 - below) / at, abs=1e-9)


def test_a_sum_is_scaled_to_the_records_that_are_made(tmp_path):
    files = {
        "shop.csv": "shop,count\nfood,1000\nbooks,600\ntoys,400\n",
        "sum.csv": "shop,sum\nfood,12000\nbooks,9000\n",
    }
    job = content(
        1000,
        tables=[{"file": "shop.csv"}],
        statistics=[{"file": "sum.csv", "of": "price"}],
        variables={k: v for k, v in content(1)["variables"].items() if k in ("shop", "price")},
    )
    out = run(written(tmp_path, job, files))
    made = pl.read_parquet(out / "data" / "*.parquet").group_by("shop").agg(pl.col("price").sum())
    sums = dict(made.iter_rows())
    assert sums["food"] == pytest.approx(6000, rel=NEAR)
    assert sums["books"] == pytest.approx(4500, rel=NEAR)
    assert [g["target"] for g in report(out)["statistics"][0]["groups"]] == [6000, 4500]


def test_rates_among_some_and_shares_within_groups_need_no_denominators(tmp_path):
    files = {
        "age.csv": "age,count\n18-29,700\n30-64,1500\n65+,800\n",
        "out_of_work.csv": "age,rate\n18-29,12.5 %\n30-64,5.8 %\nTotal,7.9 %\n",
        "mode.csv": "work,mode,share\nyes,car,0.7\nyes,bus,0.3\nno,car,0.25\nno,bus,0.75\n"
        "seeks,car,0.4\nseeks,bus,0.6\n",
    }
    job = content(
        3000,
        variables={
            "age": {"type": "integer", "min": 18, "max": 90},
            "work": {"type": "category", "values": ["yes", "seeks", "no"]},
            "mode": {"type": "category", "values": ["car", "bus"]},
        },
        tables=[{"file": "age.csv"}],
        statistics=[
            {
                "file": "out_of_work.csv",
                "of": {"work": "seeks"},
                "among": {"work": ["yes", "seeks"], "age": "18-64"},
                "percent": True,
            },
            {"file": "mode.csv", "given": ["work"]},
        ],
    )
    out = run(written(tmp_path, job, files))
    made = pl.read_parquet(out / "data" / "*.parquet")
    active = made.filter(pl.col("work").is_in(["yes", "seeks"]), pl.col("age") <= 64)
    young = active.filter(pl.col("age") <= 29)
    for people, rate in ((young, 0.125), (active, 0.079)):
        assert abs((people["work"] == "seeks").mean() - rate) * len(people) <= 1
    for work, share in (("yes", 0.7), ("no", 0.25), ("seeks", 0.4)):
        own = made.filter(pl.col("work") == work)
        assert abs((own["mode"] == "car").mean() - share) * len(own) <= 1


@pytest.mark.slow
def test_statistics_of_members_and_of_records_are_met_in_households(tmp_path):
    own = household_job.job_content(
        statistics=[
            {"file": "by_role.csv", "of": "age"},
            {"of": "cars", "figures": {"mean": 1.31}, "among": {"tenure": "owned"}},
            {
                "of": {"sex": "female"},
                "name": "women",
                "among": {"role": "head"},
                "figures": {"rate": 0.42},
            },
        ]
    )
    files = household_job.TABLES | {"by_role.csv": "role,mean\nchild,8.2\nhead,49.5\n"}
    out = run(written(tmp_path, own, files))
    people = pl.read_parquet(out / "members" / "*.parquet")
    homes = pl.read_parquet(out / "data" / "*.parquet")
    ages = dict(
        people.group_by(pl.col("role").cast(pl.String)).agg(pl.col("age").mean()).iter_rows()
    )
    assert ages["child"] == pytest.approx(8.2, rel=NEAR)
    assert ages["head"] == pytest.approx(49.5, rel=NEAR)
    cars = homes.filter(pl.col("tenure") == "owned")["cars"].mean()
    assert abs(cars - 1.31) * 130 <= 1
    heads = people.filter(pl.col("role") == "head")
    assert abs((heads["sex"] == "female").mean() - 0.42) * len(heads) <= 1
    found = report(out)
    assert all(table["tae"] == 0 for table in found["tables"])
    assert not any(rule["violations"] for rule in found["rules"])
    assert not any(found["members"]["linkage"].values())


@pytest.mark.slow
def test_pilot_batches_and_many_files_have_the_means_together_and_resume_gives_the_same(tmp_path):
    own = {"statistics": [{"of": "age", "figures": {"mean": 44.7}, "among": {"work": "yes"}}]}
    shape = {"records": 6000, "output": {"row_group": 1500}}
    with ScriptedServer(default=plan_for) as server:
        job = write_job(tmp_path, provider=provider(server.base_url), **own, **shape)
        whole = run(job)
        again = tmp_path / "again"
        command = ["run", str(job), "--out", str(again), "-q"]
        assert main([*command, "--replay"]) in (0, 2)
        assert main([*command, "--resume"]) == 0
    made = pl.read_parquet(whole / "data" / "*.parquet")
    assert len(list((whole / "data").glob("*.parquet"))) > 4
    assert made.filter(pl.col("work") == "yes")["age"].mean() == pytest.approx(44.7, rel=NEAR)
    assert data_hash(again) == data_hash(whole)
    for number, file in enumerate(sorted((again / "data").glob("*.parquet"))):
        if number in (1, 5):
            file.unlink()
    last = again / "iterations.jsonl"
    kept = [line for line in last.read_text().splitlines() if json.loads(line)["iteration"] != 0]
    last.write_text("".join(f"{line}\n" for line in kept))
    (again / "report.json").unlink()
    manifest = json.loads((again / "manifest.json").read_text())
    (again / "manifest.json").write_text(json.dumps(manifest | {"status": "running"}))
    assert main([*command, "--resume"]) == 0
    assert data_hash(again) == data_hash(whole)


def test_the_model_is_shown_statistics_that_are_met_and_none_that_are_held_out(tmp_path):
    statistics = [
        {"of": "age", "figures": {"mean": 44.7, "q90": 71}},
        {
            "of": {"work": "yes"},
            "among": {"mode": "bus"},
            "name": "busy",
            "figures": {"rate": 0.56},
        },
        {"of": "age", "name": "secret", "role": "validate", "figures": {"median": 43.21}},
    ]
    with ScriptedServer(default=plan_for) as server:
        job = write_job(tmp_path, provider=provider(server.base_url), statistics=statistics)
        assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
        prompt = server.bodies[0]["messages"][-1]["content"]
    assert "- mean of age: all records 44.7\n- q90 of age: all records 71\n" in prompt
    assert "- share of work=yes: mode=bus 56.0 %\n" in prompt
    assert "43.21" not in prompt
    held_out = [e for e in report(tmp_path / "out")["statistics"] if e["role"] == "validate"]
    assert [(e["name"], e["pass"], e["tolerance"]) for e in held_out] == [("secret", None, None)]


def test_a_statistic_that_cannot_be_met_is_named_and_the_run_does_not_pass(tmp_path, capsys):
    files = {"shop.csv": "shop,count\nfood,1000\nbooks,600\ntoys,400\n"}
    job = content(
        2000,
        tables=[{"file": "shop.csv"}],
        statistics=[
            {"of": {"member": "yes"}, "name": "a", "figures": {"rate": 0.3}},
            {"of": {"member": "yes"}, "name": "b", "figures": {"rate": 0.5}},
        ],
    )
    path = written(tmp_path, job, files)
    out = tmp_path / "out"
    assert main(["run", str(path), "--out", str(out), "-q"]) == 3
    capsys.readouterr()
    found = report(out)
    assert not found["pass"]
    assert {e["name"] for e in found["statistics"] if not e["pass"]} >= {"a"}
    assert any("is wanted, records have" in note for note in found["notes"])
    assert "Means, quantiles and rates" in (out / "report.html").read_text()


def test_a_wide_file_of_rates_and_one_of_means_are_read_as_published(tmp_path):
    files = {
        "shop.csv": "shop,count\nfood,1000\nbooks,600\ntoys,400\n",
        "split.csv": "member,food,books,toys\nyes,30 %,70 %,50 %\nno,70 %,30 %,50 %\n",
        "price.csv": "year,food,books,toys,all shops\n2020,8.5,12,,9.9\n",
    }
    job = content(
        2000,
        tables=[{"file": "shop.csv"}],
        statistics=[
            {"file": "split.csv", "given": ["shop"], "percent": True, "wide": {"variable": "shop"}},
            {
                "file": "price.csv",
                "of": "price",
                "ignore": ["year", "all shops"],
                "wide": {"variable": "shop", "measure": "mean"},
            },
            {"of": {"member": "yes"}, "name": "all", "percent": True, "figures": {"rate": 46}},
        ],
    )
    out = run(written(tmp_path, job, files))
    made = pl.read_parquet(out / "data" / "*.parquet")
    for shop, rate, mean in (("food", 0.3, 8.5), ("books", 0.7, 12.0), ("toys", 0.5, None)):
        own = made.filter(pl.col("shop") == shop)
        assert (own["member"] == "yes").mean() == pytest.approx(rate, abs=1 / len(own))
        assert mean is None or own["price"].mean() == pytest.approx(mean, rel=NEAR)
    before = (out / "report.json").read_bytes()
    assert main(["report", str(out)]) == 0
    assert (out / "report.json").read_bytes() == before


def test_a_sum_is_one_of_the_hard_tables_total(tmp_path):
    files = {
        "soft.csv": "member,count\nyes,200\nno,300\n",
        "shop.csv": "shop,count\nfood,600\nbooks,400\n",
    }
    job = content(
        2000,
        tables=[{"file": "soft.csv", "weight": 1}, {"file": "shop.csv"}],
        statistics=[{"of": "price", "figures": {"sum": 20_000}}],
    )
    out = run(written(tmp_path, job, files))
    made = pl.read_parquet(out / "data" / "*.parquet")
    assert made["price"].sum() == pytest.approx(40_000, rel=NEAR)


def test_a_mean_out_of_reach_leaves_tables_and_other_statistics_met(tmp_path):
    files = {
        "shop.csv": "shop,count\nfood,900\nbooks,100\n",
        "age.csv": "age,count\n18,200\n19,200\n20,200\n21,200\n22,100\n23,100\n",
    }
    job = content(
        1000,
        statistics=[
            {"of": "age", "among": {"shop": "food"}, "figures": {"mean": 22.5}},
            {"of": {"member": "yes"}, "figures": {"rate": 0.6}},
        ],
    )
    path = written(tmp_path, job, files)
    out = tmp_path / "out"
    assert main(["run", str(path), "--out", str(out), "-q"]) == 3
    found = report(out)
    assert [table["tae"] for table in found["tables"]] == [0, 0]
    mean, rate = (entry["groups"][0]["records"] for entry in found["statistics"])
    # the oldest 900 have a mean of 20.33, and nobody has more
    assert 20.3 < mean <= 20.3334
    assert rate == 0.6


def test_a_rate_that_a_table_of_shares_rules_out_is_refused(tmp_path, capsys):
    files = {
        "both.csv": "shop,member,share\nfood,yes,0.25\nfood,no,0.25\nbooks,yes,0.25\nbooks,no,0.25\n"
    }
    tables = [{"file": "both.csv"}]
    statistics = [{"of": {"member": "yes"}, "name": "joined", "figures": {"rate": 0.2}}]
    path = written(tmp_path, content(500, tables=tables, statistics=statistics), files)
    assert main(["validate", str(path), "--json"]) == 2
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["message"] == (
        "the rate of member=yes of all records is 0.2, and both.csv allows 0.498 to 0.502"
    )


def test_a_rate_that_a_table_allows_within_its_rounding_is_taken(tmp_path):
    files = {"both.csv": "shop,member,count\nfood,yes,3000\nfood,no,7000\n"}
    tables = [{"file": "both.csv", "rounded_to": 1000}]
    statistics = [{"of": {"member": "yes"}, "figures": {"rate": 0.32}}]
    path = written(tmp_path, content(10_000, tables=tables, statistics=statistics), files)
    assert main(["validate", str(path)]) == 0


@pytest.mark.parametrize(("median", "code"), [(2.4, 0), (2.402, 0), (2.9, 2), (1.6, 2)])
def test_a_median_between_whole_numbers_is_held_against_single_years(
    tmp_path, capsys, median, code
):
    # 210 of 500 are below 2 and 100 are 2: the median is 2.4
    files = {"age.csv": "age,count\n0,100\n1,110\n2,100\n3,100\n4,90\n"}
    job = content(500, tables=[{"file": "age.csv"}])
    job["variables"] = {"age": {"type": "integer", "min": 0, "max": 4}}
    job["statistics"] = [{"of": "age", "figures": {"median": median}}]
    assert main(["validate", str(written(tmp_path, job, files))]) == code
    assert ("the median of age of all records is" in capsys.readouterr().err) == (code == 2)
