"""What holds for every test, on a developer's machine and where the variable CI is set."""

from hypothesis import HealthCheck, settings
from tests.support.examples import LARGE


def test_examples_may_take_long_but_only_tests_that_say_so_may_have_large_ones() -> None:
    assert (settings().deadline, LARGE.deadline) == (None, None)
    assert tuple(settings().suppress_health_check) == (HealthCheck.too_slow,)
    assert HealthCheck.data_too_large in LARGE.suppress_health_check
