"""The model of a job: every key that a job file may have, with its meaning and default.

The JSON Schema, the documentation and the error messages all come from the descriptions here.
Keys exist only when the program honours them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from llmsynthor.job.consistency import inconsistencies
from llmsynthor.job.providers import describe_providers, kind_of
from llmsynthor.job.seed_sample import SeedSampleSpec
from llmsynthor.job.statistics import StatisticSpec
from llmsynthor.job.tables import Reconcile, TableSpec
from llmsynthor.job.variables import JobModel, VariableSpec
from llmsynthor.job.zones import ExecutorSpec, ZonesSpec


class MembersSpec(JobModel):
    """Members of each record: the persons of a household, the trips of a diary."""

    name: str = Field(
        "member",
        pattern=r"^[A-Za-z][A-Za-z0-9_]*$",
        description="What a member is called; names its number in the data.",
        examples=["person"],
    )
    of: str = Field(
        "record",
        pattern=r"^[A-Za-z][A-Za-z0-9_]*$",
        description="What a record is called; names its key in the data.",
        examples=["household"],
    )
    size: str = Field(
        min_length=1,
        description="The variable of the record that is the number of its members: an integer, or "
        "categories that are whole numbers.",
        examples=["size"],
    )
    variables: dict[str, VariableSpec] = Field(
        min_length=1,
        description="Name -> variable of a member.",
        examples=[{"sex": {"type": "category", "values": ["female", "male"]}}],
    )


class Scenario(JobModel):
    """What if: a sentence for the model, and the tables that it frees."""

    text: str = Field(
        min_length=1,
        description="One sentence of what-if, added to the prompt.",
        examples=["There is a concert tonight."],
    )
    release: list[str] = Field(
        default_factory=list,
        description="Names of tables that the scenario may change: they are scored, not met.",
    )


def _scenario(given: Any) -> Any:  # noqa: ANN401 - whatever the file has
    """Return a plain sentence as a scenario that frees no table."""
    return {"text": given} if isinstance(given, str) else given


class RuleSpec(JobModel):
    """A validity rule: a condition in SQL over the variables (`docs/rules.md`)."""

    name: str = Field(
        min_length=1,
        description="Name in messages and reports.",
        examples=["no driving children"],
    )
    forbid: str | None = Field(
        None, description="No record may satisfy this.", examples=["age < 15 AND mode = 'car'"]
    )
    require: str | None = Field(
        None, description="Every record must satisfy this.", examples=["age >= 18"]
    )

    @model_validator(mode="after")
    def _one(self) -> RuleSpec:
        if (self.forbid is None) == (self.require is None):
            raise ValueError("give exactly one of `forbid` and `require`")
        return self


class Price(JobModel):
    """What a million tokens cost, in US dollars."""

    input: float = Field(ge=0, description="Per million prompt tokens.", examples=[0.1])
    output: float = Field(ge=0, description="Per million completion tokens.", examples=[0.4])


class ProviderSpec(JobModel):
    """Who proposes: a language model, recorded replies, or nobody."""

    model: str = Field(
        "auto",
        min_length=1,
        description="`auto`: the only one that a provider's key in the environment or a server on "
        "this machine offers; where there is none, or a choice, the run does not start.",
        json_schema_extra=describe_providers,
    )
    replies: str | None = Field(
        None, description="Recorded replies (JSON lines) for `model: replay`; else not read."
    )
    api_key_env: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="NAME of the environment variable that holds the key; never the key.",
    )
    api_base: str | None = Field(
        None, pattern=r"^https?://", description="Address of an OpenAI-compatible server."
    )
    temperature: float = Field(0.8, ge=0, le=2, description="Sampling temperature.")
    max_output_tokens: int = Field(4096, ge=64, description="Longest reply, in tokens.")
    structured: Literal["auto", "schema", "json", "text"] = Field(
        "auto",
        description="How the reply's form is enforced: by JSON Schema, JSON mode, or the prompt "
        "alone; `auto` asks for a schema where the model may take one, and comes down to what the "
        "server accepts.",
    )
    concurrency: int = Field(4, ge=1, le=64, description="Calls at once.")
    rpm: int | None = Field(
        None, ge=1, description="Most calls that start within any minute, tries again included."
    )
    tpm: int | None = Field(
        None,
        ge=1,
        description="Most tokens within any minute; a call is taken at the most it can use until "
        "its reply says what it used.",
    )
    timeout_s: float = Field(120.0, gt=0, description="Longest wait for one reply, in seconds.")
    retries: int = Field(4, ge=0, le=20, description="Further tries after a failure that may pass.")
    price_per_mtok: Price | None = Field(
        None, description="US dollars per million tokens, where litellm does not know the price."
    )

    @model_validator(mode="after")
    def _a_reply_fits_a_minute(self) -> ProviderSpec:
        if self.tpm is not None and self.tpm < self.max_output_tokens:
            raise ValueError(
                f"`tpm` {self.tpm} is below `max_output_tokens` {self.max_output_tokens}: no call "
                "would fit; raise the one or lower the other"
            )
        return self

    @model_validator(mode="after")
    def _what_its_kind_needs(self) -> ProviderSpec:
        for key, what in kind_of(self.model).needs.items():
            if getattr(self, key) is None:
                raise ValueError(f"`model: {self.model}` needs `{key}`, {what}")
        if self.api_base is not None and "@" in self.api_base.split("/")[2]:
            raise ValueError("`api_base` holds a password; put it into the variable `api_key_env`")
        return self


class Budget(JobModel):
    """Limits on what a run may use; each is checked before a call with the most it can use."""

    calls: int | None = Field(None, ge=0, description="Model calls, retries not counted.")
    tokens: int | None = Field(None, ge=0, description="Prompt and completion tokens together.")
    cost_usd: float | None = Field(None, ge=0, description="US dollars; needs a known price.")
    minutes: float | None = Field(
        None,
        gt=0,
        description="Minutes of wall time, asking and "
        "making, over all attempts; then nothing more is asked, and the records are made of what "
        "there is.",
    )


class EngineSpec(JobModel):
    """How records are made."""

    method: Literal["calibrated", "append"] = Field(
        "calibrated",
        description="`calibrated`, or `append`: the loop as the paper publishes it, which takes no "
        "`background`, `candidates`, `pilot_share` or `patience`.",
    )
    iterations: int = Field(12, ge=1, description="Rounds of asking, at most.")
    calls_per_iteration: int = Field(4, ge=1, le=64, description="Model calls in one iteration.")
    proposals_per_call: int = Field(
        8,
        ge=1,
        le=50,
        description="Proposals asked for in a call; at most 5 with `append`, not given in `focus` style.",
    )
    plan_style: Literal["auto", "plan", "focus"] = Field(
        "auto",
        description="`plan`: the model writes whole plans. `focus`: each call fixes one cell and "
        "the model completes it, one proposal a call, for small models. `auto` is `focus` for "
        "`local:` models, else `plan`.",
    )
    background: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = Field(
        "auto", description="Share of the prior that needs no model."
    )
    candidates: Literal["auto"] | Annotated[int, Field(ge=1000, le=20_000_000)] = Field(
        "auto", description="Candidate records that calibration chooses from; bounds the memory."
    )
    pilot_share: float = Field(
        0.005, ge=0, le=0.2, description="Share of the records that each iteration's batch makes."
    )
    patience: int = Field(
        3,
        ge=1,
        description="Stop asking after so many iterations in which neither the proposals came nearer "
        "to the tables (1 % of their TVD) nor calibration became easier (5 % of its KL, effective "
        "sample size or background share); see docs/stopping.md.",
    )
    tolerance: float = Field(
        0.002, ge=0, le=1, description="Largest total variation distance of a control table."
    )


class OutputSpec(JobModel):
    """How records are stored."""

    format: Literal["parquet"] = Field("parquet", description="File format.")
    row_group: int = Field(250_000, ge=1000, description="Records in one file of `data/`.")


class Job(JobModel):
    """A job: which records are wanted, which tables they must meet, and who proposes them."""

    version: Literal[1] = Field(description="Version of the job format.", examples=[1])
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="Names the run directory.",
        examples=["commuters"],
    )
    description: str = Field("", description="What a record is; goes into the prompt.")
    records: int = Field(ge=1, description="How many records to make.", examples=[10000])
    seed: int = Field(0, ge=0, description="Root of all random numbers.")
    scenario: Annotated[
        Scenario | None,
        BeforeValidator(_scenario, json_schema_input_type=str | Scenario | None),
    ] = Field(
        None,
        description="One sentence of what-if, added to the prompt; or `{text: ..., release: [...]}` "
        "with the names of the tables that it may change. All other tables hold.",
    )
    variables: dict[str, VariableSpec] = Field(
        min_length=1,
        description="Name -> variable.",
        examples=[{"age": {"type": "integer", "min": 18, "max": 90}}],
    )
    members: MembersSpec | None = Field(
        None,
        description="Members of each record, with variables of their own, such as the persons of "
        "households; see docs/members.md.",
    )
    zones: ZonesSpec | None = Field(
        None, description="A variable of very many categories, and what they lie within."
    )
    tables: list[TableSpec] = Field(
        min_length=1, description="The target tables.", examples=[[{"file": "tables/age.csv"}]]
    )
    reconcile: Reconcile = Field(
        "error",
        description="What becomes of control tables that disagree by more than rounding: `error` "
        "refuses them; `least_squares` takes the nearest tables that agree, weighted by `weight` "
        "and `moe`; `{scale_to: NAME}` fits all others to one; see docs/tables.md.",
    )
    statistics: list[StatisticSpec] = Field(
        default_factory=list,
        description="Means, sums, quantiles and rates to be met beside the tables; see "
        "docs/statistics.md.",
        examples=[[{"file": "tables/miles_by_purpose.csv", "of": "miles"}]],
    )
    seed_sample: SeedSampleSpec | None = Field(
        None,
        description="Real records that the made records may be copies of; see docs/seed-sample.md.",
    )
    rules: list[RuleSpec] = Field(default_factory=list, description="Validity rules.")
    dependencies: Literal["infer", "off"] | list[list[str]] = Field(
        "infer",
        description="Groups of variables that depend on each other: `infer` asks the model once, "
        "`off` names none, or a list of groups.",
    )
    prompts: str | None = Field(
        None, description="Folder with templates that replace the built-in ones of the same name."
    )
    provider: ProviderSpec = Field(default_factory=ProviderSpec, description="Who proposes.")
    budget: Budget = Field(default_factory=Budget, description="Limits.")
    engine: EngineSpec = Field(default_factory=EngineSpec, description="How records are made.")
    output: OutputSpec = Field(default_factory=OutputSpec, description="How records are stored.")
    executor: ExecutorSpec | None = Field(
        None, description="Who makes the chunks of zones; default: the cores of this machine."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Job:
        problems = "; ".join(message for _, message in inconsistencies(self))
        if problems:
            raise ValueError(problems)
        return self

    @property
    def all_variables(self) -> dict[str, VariableSpec]:
        """Return the variables of records and of members, by name."""
        return self.variables | (self.members.variables if self.members else {})

    @property
    def released(self) -> tuple[str, ...]:
        """Return the names of the tables that the scenario frees."""
        return tuple(dict.fromkeys(self.scenario.release)) if self.scenario else ()


def job_schema() -> dict[str, Any]:
    """Return the JSON Schema of a job file, for editors."""
    schema = Job.model_json_schema()
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "llmsynthor job",
        **schema,
    }


UNFINGERPRINTED: dict[str, str] = {
    "executor": "who makes a chunk does not change what is in it",
    "budget": "a limit stops a run; it does not change what a reply turns into",
    "provider.concurrency": "replies are used in the order of asking, not of arrival",
    "provider.rpm": "when a call is made does not change its reply",
    "provider.tpm": "when a call is made does not change its reply",
    "provider.timeout_s": "waiting longer does not change a reply",
    "provider.retries": "trying again does not change a reply",
    "provider.api_key_env": "another key buys the same reply",
    "provider.price_per_mtok": "what a call costs does not change its reply",
}
"""Keys that may change between attempts of one run, each with the reason."""


def fingerprinted(job: Job) -> dict[str, Any]:
    """Return the job as flat `dotted.key -> value`, without the keys in `UNFINGERPRINTED`."""
    flat: dict[str, Any] = {}
    _flatten("", job.model_dump(mode="json"), flat)
    excluded = tuple(UNFINGERPRINTED)
    return {
        key: value
        for key, value in flat.items()
        if not any(key == name or key.startswith(f"{name}.") for name in excluded)
    }


def _flatten(prefix: str, value: Any, into: dict[str, Any]) -> None:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _flatten(f"{prefix}.{key}" if prefix else str(key), inner, into)
    else:
        into[prefix] = value
