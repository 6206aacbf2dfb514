"""How hard to look. In CI every run looks at the same examples, so that it is never red by chance;
``HYPOTHESIS_PROFILE=thorough`` looks for new ones."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}

settings.register_profile("ci", max_examples=250, derandomize=True, database=None, **_PATIENT)
settings.register_profile("dev", max_examples=100, **_PATIENT)
settings.register_profile("thorough", max_examples=5_000, **_PATIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))
