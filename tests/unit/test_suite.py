"""What holds for every test."""

import hypothesis
from tests.support.examples import LARGE


def test_examples_may_take_long_but_only_tests_that_say_so_may_have_large_ones() -> None:
    assert (hypothesis.settings().deadline, LARGE.deadline) == (None, None)
    assert hypothesis.settings().suppress_health_check == ()
