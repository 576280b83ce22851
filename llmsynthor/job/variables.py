"""The model of a job's variables: categories, whole numbers, real numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class JobModel(BaseModel):
    """Base of all parts of a job: unknown keys are errors, values are taken as written."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CategoryVariable(JobModel):
    """A variable with a list of categories."""

    type: Literal["category"] = Field(description="A list of categories.")
    values: list[str] = Field(
        min_length=1,
        description="The categories; quote numbers and yes/no.",
        examples=[["car", "bus"]],
    )
    ordered: bool = Field(False, description="Whether the order of `values` means something.")
    description: str = Field("", description="What it means; goes into the prompt.")

    @model_validator(mode="after")
    def _distinct(self) -> CategoryVariable:
        repeated = sorted({value for value in self.values if self.values.count(value) > 1})
        if repeated:
            raise ValueError(f"the category `{repeated[0]}` is given twice")
        return self


class _Limits(JobModel):
    unit: str = Field("", description="Unit, for example `years`; goes into the prompt.")
    description: str = Field("", description="What it means; goes into the prompt.")


class IntegerVariable(_Limits):
    """A variable with whole numbers; its bins come from the tables."""

    type: Literal["integer"] = Field(description="Whole numbers from `min` to `max`.")
    min: int = Field(description="Smallest value.", examples=[0])
    max: int = Field(description="Largest value; open bins such as `65+` end here.", examples=[100])

    @model_validator(mode="after")
    def _ordered(self) -> IntegerVariable:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class NumberVariable(_Limits):
    """A variable with real numbers; its bins come from the tables."""

    type: Literal["number"] = Field(description="Real numbers from `min` to `max`.")
    min: float = Field(description="Smallest value.", allow_inf_nan=False, examples=[0])
    max: float = Field(
        description="Largest value; open bins end here.", allow_inf_nan=False, examples=[100]
    )
    decimals: int = Field(2, ge=0, le=12, description="Digits after the point in the records.")

    @model_validator(mode="after")
    def _ordered(self) -> NumberVariable:
        if self.min >= self.max:
            raise ValueError(f"min {self.min} is not below max {self.max}")
        return self


VariableSpec = Annotated[
    CategoryVariable | IntegerVariable | NumberVariable, Field(discriminator="type")
]
