"""How hard the properties are tried: ``HYPOTHESIS_PROFILE`` is dev (the default), ci or nightly.

Examples are not bound by a deadline: the machine is shared, and a slow example is no wrong one.
"""

import os

from hypothesis import HealthCheck, settings

# The gate says the same twice; `nightly` is there to find what nobody thought of.
settings.register_profile("dev", max_examples=30, deadline=None, derandomize=True)
settings.register_profile("ci", max_examples=100, deadline=None, print_blob=True)
settings.register_profile(
    "nightly",
    max_examples=10_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
