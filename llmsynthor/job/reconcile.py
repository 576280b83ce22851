"""Reconciling in a job's model: what becomes of tables that disagree."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llmsynthor.job.variables import JobModel


class ScaleTo(JobModel):
    """The table that all others are fitted to."""

    scale_to: str = Field(min_length=1, description="Name of a control table.", examples=["age"])

    @property
    def words(self) -> str:
        """Return the policy in one line."""
        return f"scale_to {self.scale_to}"


Reconcile = Literal["error", "least_squares"] | ScaleTo
