"""What a rule may hold: read as polars reads it, and nothing that reaches files or hosts."""

from __future__ import annotations

import re
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from polars.testing import assert_series_equal
from small_job import write_job

from llmsynthor.candidates.rule_terms import AGGREGATES, ALIASES, FUNCTIONS, TYPES
from llmsynthor.candidates.rule_text import _BINARY
from llmsynthor.candidates.rules import broken_mask, category_series, compile_rules
from llmsynthor.cli.main import main
from llmsynthor.errors import JobError
from llmsynthor.job.model import RuleSpec
from llmsynthor.targets.domain import Domain, Members, Variable

MODE, AGE = Variable("mode", "category", ("car", "bus", "Cargo")), (0, 10, 90)
DOMAIN = Domain(
    (
        MODE,
        Variable("age", "integer", ("0-9", "10-89"), AGE),
        Variable("km", "number", ("0-10", "10-50"), (0, 10, 50)),
        Variable("was", "category", ("car", "none")),
    )
)
RNG = np.random.default_rng(5)
FRAME = pl.DataFrame(
    {
        "mode": category_series(MODE, RNG.integers(0, 3, 300)),
        "age": [None if a % 11 == 3 else int(a) for a in RNG.integers(0, 90, 300)],
        "km": [None if k > 45 else round(float(k), 1) for k in RNG.random(300) * 50],
        "was": category_series(DOMAIN["was"], RNG.integers(0, 2, 300)),
    }
)
MEMBERS = Members(
    "person", "household", "size", np.arange(3),
    Domain((Variable("size", "category", ("0", "1", "2")),)), DOMAIN,
)  # fmt: skip
WITH_MEMBERS = Domain((*MEMBERS.record.variables, *DOMAIN.variables))
PLACE = (
    "has no place in a rule: it may hold comparisons, AND, OR, NOT, arithmetic, CASE, named functions "
    "and aggregates of members (docs/rules.md)"
)
KNOWN = f"(functions: {', '.join(FUNCTIONS)})"
DEEP = "is nested too deeply; write it as several rules"


def rule(text: str, domain: Domain = DOMAIN, members: Members | None = None):
    (found,) = compile_rules([RuleSpec(name="r", forbid=text)], domain, members)
    return found


def refusal(text: str) -> str:
    with pytest.raises(JobError) as caught:
        rule(text)
    return str(caught.value).removeprefix("rules.0 `r`: ")


class Counting(BaseHTTPRequestHandler):
    """Answers every request, and keeps which there were."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        self.send_response(404)
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815


def test_no_rule_reads_a_file_or_asks_a_host(tmp_path, capsys):
    (tmp_path / "secret.csv").write_text("sk-very-secret,age\n1,2\n")
    server = HTTPServer(("127.0.0.1", 0), Counting)
    Thread(target=server.serve_forever, daemon=True).start()
    host = f"http://127.0.0.1:{server.server_port}"
    tables = [
        f"read_csv('{host}/x.csv')", f"read_parquet('{host}/x.parquet')",
        f"read_ndjson('{host}/x.ndjson')", f"read_csv('{tmp_path}/secret.csv')",
        f"read_csv('{tmp_path}/*.csv')", f"'{tmp_path}/secret.csv'",
    ]  # fmt: skip
    texts = [f"age IN (SELECT age FROM {table})" for table in tables]
    texts += [f"age IN {tables[0]}", f"{tables[3]} = age", "EXISTS (SELECT 1)"]
    job = write_job(
        tmp_path, rules=[{"name": str(i), "forbid": text} for i, text in enumerate(texts)]
    )
    try:
        assert main(["validate", str(job)]) == 2
    finally:
        server.shutdown()
        server.server_close()
    said = capsys.readouterr().err.replace(f"{tmp_path}/", "")
    lines = job.read_text().splitlines()
    first = 1 + next(i for i, line in enumerate(lines) if line.startswith("rules:"))
    places = [i for i, line in enumerate(lines, 1) if i > first and line.startswith("- ")]
    assert len(places) == len(texts)
    problems = [f"`SELECT` {PLACE}"] * 6 + [
        "`IN` needs a list such as `('a', 'b')`",
        f"`read_csv` is no function of rules {KNOWN}",
        f"`SELECT` {PLACE}",
    ]
    shown = re.findall(r"^error: (job.yaml:\d+):\d+: (rules\..*)$", said, re.MULTILINE)
    assert shown == [
        (f"job.yaml:{line}", f"rules.{i} `{i}`: {problem}")
        for i, (line, problem) in enumerate(zip(places, problems, strict=True))
    ]
    assert "very-secret" not in said
    assert Counting.asked == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("SELECT 1", f"`SELECT` {PLACE}"),
        ("age = (SELECT 1)", f"`SELECT` {PLACE}"),
        ("age = 1 UNION SELECT 2", f"`UNION` {PLACE}"),
        ("with x as (select 1) age = 1", f"`with` {PLACE}"),
        ("PRAGMA age", f"`PRAGMA` {PLACE}"),
        ("ATTACH 'x.db'", f"`ATTACH` {PLACE}"),
        ("age < 3; DROP TABLE x", "`;` has no place in a rule: it is one condition"),
        ("(age, km) = (1, 2)", f"`a list in brackets` {PLACE}"),
        ("LOWER(*) = 'x'", f"`*` {PLACE}"),
        ("LOWER(DISTINCT mode) = 'x'", f"`DISTINCT` {PLACE}"),
        ("LOWER(mode WHERE age < 3) = 'x'", f"`WHERE in LOWER` {PLACE}"),
        ("mode = 'a' 'b'", f"`text right behind text` {PLACE}"),
        ("mode = N'a'", f"`N'...'` {PLACE}"),
        ("CAST(age, 'x') = 1", f"`CAST` {PLACE}"),
        (
            "age > AVG(age) OVER (PARTITION BY mode)",
            "`OVER` speaks of all records together; a rule must hold for each by itself",
        ),
        (
            "mode.age = 1",
            "`mode.age` is no variable; did you mean `mode`? (variables: mode, age, km, was); put text in single quotes, and "
            "names with a dash in double quotes",
        ),
        ("RANDOM() < age", f"`RANDOM` is no function of rules {KNOWN}"),
        ("LOWR(mode) = 'car'", f"`LOWR` is no function of rules; did you mean `LOWER`? {KNOWN}"),
        ("MEAN(age) = 1", "`MEAN` is no function of rules; did you mean `AVG`?"),
        ("LOWER(mode, 1) = 'x'", "`LOWER` takes 1 argument, got 2"),
        ("ROUND() = 1", "`ROUND` takes 1 to 2 arguments, got 0"),
        ("CONCAT() = 'x'", "`CONCAT` takes 1 or more arguments, got 0"),
        (
            "CAST(age AS DATE) = 1",
            f"`DATE` is no type of rules (types: {', '.join(TYPES)})",
        ),
        ("age IS 3", "`IS` takes `NULL`, `TRUE`, `FALSE` or `DISTINCT FROM`"),
        ("age IN ()", "`IN` needs a list such as `('a', 'b')`"),
        ("age = km < 3", "needs brackets round the comparison behind `=`"),
        ("age = 1e", "`1e` is no number"),
        ("", "not a SQL expression: it is empty"),
        ("-- age < 3", "not a SQL expression: it is empty"),
        ("mode = 'car", "not a SQL expression: a quote is not closed"),
        ("(age < 3", "not a SQL expression: the bracket at its start is not closed"),
        ("age < 3 AND (km", "not a SQL expression: the bracket after `AND` is not closed"),
        ("age BETWEEN 1 3", "not a SQL expression: a `BETWEEN` lacks its `AND`"),
        ("CASE WHEN age < 3 TRUE END", "not a SQL expression: a `CASE` lacks a `THEN`"),
        (
            "age IN (1, , 2)",
            "not a SQL expression: something is missing or too much at `,` (character 12)",
        ),
        (
            "age < 3 )",
            "not a SQL expression: something is missing or too much at `)` (character 9)",
        ),
        (
            "age {x} = 3",
            "not a SQL expression: something is missing or too much at `{` (character 5)",
        ),
        ("CASE WHEN mode = 'cra' THEN TRUE END", "`cra` is no category of `mode`; did you mean `car`?"),
        ("CASE mode WHEN 'cra' THEN TRUE END", "`cra` is no category of `mode`; did you mean `car`?"),
        ("NULLIF(mode, 'cra') = 'car'", "`cra` is no category of `mode`; did you mean `car`?"),
        ("COALESCE(mode, 'x') = 'buss'", "`buss` is no category of `mode`; did you mean `bus`?"),
        ("mode BETWEEN 'x' AND 'bus'", "`x` is no category of `mode` (known: car, bus, Cargo)"),
        (
            "IF(age < 3, mode, was) = 'nine'",
            "`nine` is no category of `mode` or `was`; did you mean `none`?",
        ),
        (
            "CAST(LOWER(mode) AS INT) = 3",
            "cannot be evaluated: conversion from `str` to `i32` failed in column 'mode' for 6 out of "
            '6 values: ["car", "car", … "cargo"]',
        ),
    ],
)  # fmt: skip
def test_what_no_rule_may_hold_is_refused_by_name(text, problem):
    assert refusal(text) == problem


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("LOWER(mode) = 'car'", lambda m, w: m == "car"),
        ("mode LIKE 'ca%'", lambda m, w: m == "car"),
        ("mode ILIKE 'CA%'", lambda m, w: m != "bus"),
        ("mode NOT LIKE '_a%'", lambda m, w: m == "bus"),
        ("mode || '-x' = 'car-x'", lambda m, w: m == "car"),
        ("mode||'-x'='car-x' OR'bus'=mode", lambda m, w: m != "Cargo"),
        ("STARTS_WITH(mode, 'ca') OR LENGTH(mode) = 5", lambda m, w: m != "bus"),
        ("LEFT(mode, 2) IN ('Ca', 'bu')", lambda m, w: m != "car"),
        ("mode = was", lambda m, w: m == w),
        ("IF(was = 'none', 'nobody', mode) = 'nobody'", lambda m, w: w == "none"),
        ("CASE mode WHEN 'car' THEN mode ELSE was END = 'none'", lambda m, w: m != "car" and w == "none"),
        ("COALESCE(NULLIF(mode, 'car'), 'gone') = 'gone'", lambda m, w: m == "car"),
        ("mode < 'Cargo' AND mode::TEXT < 'car'", lambda m, w: m == "bus"),
        ("\"mode\" = 'car' -- AND (\n OR `was` = 'none' /* , */", lambda m, w: m == "car" or w == "none"),
    ],
)  # fmt: skip
def test_categories_are_text_where_a_rule_takes_them_as_text(text, holds):
    pairs = FRAME.select(pl.col("mode", "was").cast(pl.String)).rows()
    assert broken_mask([rule(text)], FRAME).tolist() == [holds(m, w) for m, w in pairs]


def test_a_variable_may_have_the_name_of_a_word_of_sql():
    names = ("date", "order", "left", "count", "int", "select", "interval", "values", "a.b")
    domain = Domain(tuple(Variable(name, "integer", ("0-9",), (0, 10)) for name in names))
    frame = pl.DataFrame({name: [i % 10] for i, name in enumerate(names)})
    for i, name in enumerate(names):
        for text in (f"{name} = {i}", f"CAST({name} AS int) = {i}", f"ABS(-{name}) = {i}"):
            assert broken_mask([rule(text, domain)], frame).all(), text


NUMBERS = [
    "age", "km", "age", "-km", "3", "0", "7", "1.5", "0.1", "2e1", "NULL", "(N + N)", "(N - N)",
    "(N * N)", "(N / N)", "(N // N)", "(N % N)", "(age - N + km * 2)", "ABS(N)", "CEIL(N)", "FLOOR(N)",
    "SIGN(N)", "SQRT(N)", "LN(N)", "ROUND(N, 1)", "GREATEST(N, N)", "LEAST(N, N)", "COALESCE(N, N)",
    "NULLIF(N, N)", "MOD(N, N)", "POWER(N, N)", "IF(T, N, N)", "CAST(N AS DOUBLE)",
    "CASE WHEN T THEN N ELSE N END", "CASE N WHEN N THEN N WHEN 3 THEN N END",
    "LENGTH(CAST(mode AS VARCHAR))",
]  # fmt: skip
TRUTHS = [
    "N = N", "N <> N", "N != N", "N < N", "N <= N", "N > N", "N >= N", "N <=> N", "N == N",
    "mode = 'car'", "mode IN ('car', 'bus')", "mode NOT IN ('Cargo')", "'bus' < mode", "mode <> 'bus'",
    "mode <=> 'car'", "CAST(mode AS VARCHAR) LIKE '%ar%'", "(age < 5) = (mode = 'car')", "TRUE",
    "CONCAT(CAST(mode AS VARCHAR), age) = 'car7'", "N BETWEEN N AND N", "N NOT BETWEEN N AND N",
    "N IN (N, 3, 4)", "N IS NULL", "NOT N IS NOT NULL", "T AND (T)", "T OR (T)", "NOT (T)",
    "(T) AND (T) OR (T)", "(T) OR (T) AND NOT (T)", "(T) IS NOT TRUE", "(N IS DISTINCT FROM N)",
]  # fmt: skip


def lawful(random, depth: int = 4) -> str:
    """Return a condition that polars reads."""

    def grown(forms: list[str], left: int) -> str:
        plain = [form for form in forms if not re.search(r"\b[NT]\b", form)]
        form = random.choice(forms if left else plain)
        return re.sub(
            r"\b[NT]\b", lambda m: grown(NUMBERS if m[0] == "N" else TRUTHS, left - 1), form
        )

    return f"({grown(TRUTHS, depth)}) OR age IS NULL"


randoms = st.randoms(use_true_random=True)


@settings(max_examples=300, deadline=None)
@given(random=randoms)
@pytest.mark.slow
def test_a_rule_means_what_polars_makes_of_its_text(random):
    text = lawful(random)
    try:
        expected = FRAME.select(pl.sql_expr(text).alias("x"))["x"]
        found = rule(text)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        assume(False)
    except JobError as error:  # 0 // 0.0 and the like, which polars says
        assert re.search(f"cannot be evaluated: |{DEEP}", str(error))  # noqa: PT017
        assume(False)
    assert_series_equal(FRAME.select(found.broken.alias("x"))["x"], expected)


WORDS = re.split(
    " ",
    "SELECT FROM WITH UNION OVER EXISTS PRAGMA ATTACH read_csv('/etc/passwd') (SELECT 1) ( ( ( ) ) ) , "
    ", . ; * age age age mode mode km 'car' 'bus' 'x' 1 2 0.5 1e9 = = < > <= <> AND OR NOT IN IS NULL "
    "TRUE LIKE ILIKE BETWEEN CASE WHEN THEN ELSE END CAST( AS INT VARCHAR :: WHERE DISTINCT COUNT( MAX( "
    "ANY( ALL( AVG( LOWER( LEFT( ROUND( COALESCE( IF( NULLIF( CONCAT( || + - / // % [1] {'a':1} \" ` ' "
    "-- /* */ # @ $ : ? ! ~ & | \\ é LEFT DATE INTERVAL ARRAY[ STRUCT( size FILTER( AT TIME ZONE "
    "ESCAPE FETCH LIMIT JSON UNKNOWN \x00 \n",
)


@settings(max_examples=600, deadline=None)
@given(text=st.text(max_size=30), random=randoms)
@pytest.mark.slow
def test_any_text_is_a_rule_or_an_error_and_polars_is_given_no_query(text, random):
    words = random.choices(WORDS, k=random.randrange(14))
    pieces = re.findall(r"\w+|'[^']*'|\S", lawful(random, 2))
    pieces[random.randrange(len(pieces))] = random.choice(WORDS)
    at = random.randrange(len(pieces))
    kinds = [[text], words, pieces, [*pieces[:at], *words[:3], *pieces[at:]]]
    text = random.choice(["", " ", " "]).join(random.choice(kinds))
    given_to_polars = []
    with pytest.MonkeyPatch.context() as patch:
        sql_expr = pl.sql_expr
        patch.setattr(pl, "sql_expr", lambda sql: (given_to_polars.append(sql), sql_expr(sql))[1])
        for domain, members in ((DOMAIN, None), (WITH_MEMBERS, MEMBERS)):
            try:
                rule(text, domain, members)
            except JobError as error:
                assert "root:" not in str(error)  # noqa: PT017
    for sql in given_to_polars:
        bare = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", "", sql)
        assert not re.search(
            r"SELECT|FROM(?<!DISTINCT FROM)|read_|[;\[\]{}@$#\\]", bare, re.IGNORECASE
        )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "(" * 31 + "age < 3" + ")" * 31,
            "has more than 30 brackets within each other; write it as several rules",
        ),
        ("NOT " * 50_000 + "age < 3", DEEP),
        ("- " * 3000 + "age < 3", DEEP),
        ("age" + " IS NULL" * 500, DEEP),
        ("age" + "::INT" * 25 + " = 1", DEEP),
        ("age < 3 AND (" * 28 + "age < 3" + ")" * 28, DEEP),
        ("NULLIF(" * 23 + "age" + ", 1)" * 23 + " = 1", "is too long; write it as several rules"),
        (" + ".join(["age"] * 501) + " < 3", "has more than 500 parts between `+`"),
        (
            f"CASE {' '.join(f'WHEN age = {i} THEN TRUE' for i in range(501))} END",
            "has more than 500 cases in one `CASE`",
        ),
    ],
    ids=range(9),
)  # fmt: skip
@pytest.mark.slow
def test_a_giant_rule_is_refused_in_words(text, problem):
    assert refusal(text) == problem


@pytest.mark.slow
def test_thousands_of_conditions_side_by_side_are_quick():
    ages = FRAME["age"].to_list()
    text = " OR ".join(f"age = {i}" for i in range(20, 5000))
    assert broken_mask([rule(text)], FRAME).tolist() == [a is not None and a >= 20 for a in ages]
    text = f"NOT age IN ({', '.join(map(str, range(20, 5000)))})"
    assert broken_mask([rule(text)], FRAME).tolist() == [a is not None and a < 20 for a in ages]


def test_the_page_on_rules_lists_what_a_rule_may_hold():
    page = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
    table = page[page.index("| what |") :].replace("\\|", "|")
    listed = set(re.findall(r"`([^`]+)`", table))
    words = {
        "NOT",
        "( )",
        "CASE",
        "IN",
        "BETWEEN",
        "IS NULL",
        "IS TRUE",
        "IS FALSE",
        "!=",
        "==",
        "<=>",
    }
    words |= {"CAST(x AS TYPE)", "x::TYPE", "WHERE", "COUNT(*)", "COUNT(DISTINCT x)"}
    assert listed == words | set(_BINARY.values()) | {*FUNCTIONS, *ALIASES, *TYPES, *AGGREGATES}
