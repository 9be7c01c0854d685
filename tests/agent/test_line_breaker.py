import pytest

from edgewright.agent.line.breaker import BREAKER_WINDOW_S, Breaker, answer_by, replacement_delay_s


def test_three_failures_within_a_minute_break() -> None:
    """The third failure breaks; failures that are further apart do not."""
    close, apart = Breaker(), Breaker()
    assert [close.failed(at) for at in (0.0, 20.0, 59.0)] == [False, False, True]
    assert not any(apart.failed(at * (BREAKER_WINDOW_S / 2 + 1)) for at in range(10))


def test_replacements_slow_down_to_a_limit() -> None:
    """The first two replacements are immediate, then the delay doubles up to half a minute."""
    delays = [replacement_delay_s(failures) for failures in range(1, 12)]
    assert delays[:5] == [0.0, 0.0, 0.5, 1.0, 2.0]
    assert delays == sorted(delays)
    assert delays[-1] == 30.0


@pytest.mark.parametrize("stand_in_run_s", [None, 0.0, 0.003, 10.0])
@pytest.mark.parametrize("deadline", [0.002, 0.05, 5.0])
def test_time_is_left_for_the_stand_in_and_the_sending(stand_in_run_s: float | None, deadline: float) -> None:
    """The active runner gets at least half of the time and never all of it."""
    until = answer_by(0.0, deadline, stand_in_run_s)
    assert deadline / 2 <= until < deadline
    if stand_in_run_s is not None:
        assert deadline - until >= min(max(2 * stand_in_run_s, deadline / 4), deadline / 2)
