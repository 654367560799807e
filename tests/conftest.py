"""Settings of every kind of test. Fixtures live with their kind, or in a shipped `*/testing` module."""

import os

from hypothesis import settings

# Derandomised, so that a red run is red again. `HYPOTHESIS_PROFILE=search` looks for new counter-examples.
settings.register_profile("ci", derandomize=True, print_blob=True, deadline=None)
settings.register_profile("search", max_examples=2000, print_blob=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
