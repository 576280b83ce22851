"""What all tests share: how hypothesis draws its examples."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_DRAWN = {
    "deadline": None,  # seconds tell how busy the machine is
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
settings.register_profile("same", derandomize=True, **_DRAWN)
settings.register_profile("random", **_DRAWN)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
