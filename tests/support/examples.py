"""Settings of Hypothesis for tests whose examples are large on purpose."""

from hypothesis import HealthCheck, settings

# Lives of a hundred events, and documents nested in each other, take a while to make on a machine that is busy, and
# some exceed what Hypothesis likes. Neither says anything about the code under test.
LARGE = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
