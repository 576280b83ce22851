"""When to stop asking: the rule that says whether further proposals still bring something.

Two things are watched, iteration by iteration. The *prior's discrepancy* is the library's mean TVD
to the control tables. The *calibration effort* is what it took to fit that iteration's pilot batch
to the tables: the KL divergence of the weights from the prior, the effective sample size as a share
of the candidates, and the share of the weights that fell to the background.

Asking ends when, in the last `patience` iterations, none of them got better than it had been
before: the TVD by 1 % and by 0.0005, the effort by 5 % in any of its three figures. Calibration
draws its candidates anew each time, so its figures waver by a few percent. While one of them
improves, asking goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmsynthor.llm.providers.base import Stop
from llmsynthor.text import count_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.store.lines import Iteration

_TVD_GAIN = 0.01
_LEAST_TVD_GAIN = 0.0005
"""The prompt shows no difference below this, so the model could not close it."""
_EFFORT_GAIN = 0.05
_LEAST_SHARE_GAIN = 0.005
_LEAST_KL_GAIN = 0.005
_DIGITS = 6


@dataclass(frozen=True)
class Effort:
    """What it took to fit one iteration's pilot batch to the tables.

    Attributes:
        kl: KL divergence of the weights from the prior, in nats; lower is better.
        effective_share: Effective sample size over the number of candidates; higher is better.
        background_share: Share of the weights that fell to the background; lower is better.
    """

    kl: float
    effective_share: float
    background_share: float


def effort_of(kl: float, effective_share: float, background_share: float) -> Effort:
    """Return an effort with its figures rounded as they are logged, so that a resumed run has the same."""
    return Effort(*(round(float(x), _DIGITS) for x in (kl, effective_share, background_share)))


def logged_effort(line: Iteration) -> Effort | None:
    """Return the effort in a line of `iterations.jsonl`; None where no pilot batch was calibrated."""
    figures = (line.kl, line.effective_share, line.background_share)
    known = [figure for figure in figures if figure is not None]
    return Effort(*known) if len(known) == len(figures) else None


def levelled_off(
    priors: Sequence[float], efforts: Sequence[Effort | None], patience: int
) -> Stop | None:
    """Return why asking should end, or None while something still gets better.

    An iteration may have no effort; where none has, the prior alone decides.
    """
    if len(priors) <= patience:
        return None
    before, lately = min(priors[:-patience]), min(priors[-patience:])
    if before - lately > max(_TVD_GAIN * before, _LEAST_TVD_GAIN):
        return None
    words = (
        f"in the last {count_of(patience, 'iteration')} the proposals came "
        f"no nearer to the tables (best TVD {lately:.4f}, before {before:.4f})"
    )
    known = [effort for effort in efforts[:-patience] if effort]
    recent = [effort for effort in efforts[-patience:] if effort]
    if not known or not recent:
        return Stop("gain", words)
    if _easier(known, recent):
        return None
    return Stop(
        "gain",
        f"{words} and calibration became no easier (best KL {min(e.kl for e in recent):.3f}, "
        f"before {min(e.kl for e in known):.3f})",
    )


def _easier(before: Sequence[Effort], lately: Sequence[Effort]) -> bool:
    """Return whether a figure of the best recent effort beats all before it by more than chance."""
    kl = min(e.kl for e in before)
    effective = max(e.effective_share for e in before)
    background = min(e.background_share for e in before)
    return (
        kl - min(e.kl for e in lately) > max(_EFFORT_GAIN * kl, _LEAST_KL_GAIN)
        or max(e.effective_share for e in lately) - effective
        > max(_EFFORT_GAIN * effective, _LEAST_SHARE_GAIN)
        or background - min(e.background_share for e in lately)
        > max(_EFFORT_GAIN * background, _LEAST_SHARE_GAIN)
    )
