"""What every test run shares: the hypothesis profiles.

`ci` (default) draws the same examples every time, so a red run is red for everybody; `thorough` draws
new ones and more of them. Choose with HYPOTHESIS_PROFILE.
"""

import os

from hypothesis import HealthCheck, settings

# No deadline: two cores shared with subprocess tests make single examples slow without being wrong.
settings.register_profile(
    "ci", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", max_examples=2_000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
