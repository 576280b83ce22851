"""Why a table passes that is beyond its tolerance."""

from __future__ import annotations

NEAR_BY = {
    "margin of error": "its margin of error",
    "whole records": "one record of its target",
    "rounding": "the rounding of its published figure",
}
"""What `passes_by` says -> what each cell of the table is within."""
