import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.training.recipe import Schedule
from verydeep.training.schedule import Plateau, rate_factor


def follow(schedule, errors, every=1):
    """Drops after each validation, and whether it has ended."""
    plateau = Plateau(schedule)
    seen = []
    for number, error in enumerate(errors, start=1):
        plateau.step(error, number * every)
        seen.append(plateau.drops)
    return seen, plateau.ended


def test_the_rate_drops_after_five_epochs_without_a_tenth_of_a_point_thrice_and_then_the_run_ends():
    errors = [0.9, 0.8, 0.7] + [0.6995] * 5 + [0.6] + [0.6] * 5 + [0.5] + [0.5] * 5 + [0.5] * 5
    drops, ended = follow(Schedule(), errors)
    assert drops == [0] * 7 + [1] * 6 + [2] * 6 + [3] * 6
    assert ended


def test_progress_of_exactly_the_threshold_is_progress():
    drops, _ = follow(Schedule(patience=1), [0.3 - 0.001 * step for step in range(100)])
    assert drops[-1] == 0


def test_small_steps_add_up_to_progress():
    drops, _ = follow(Schedule(patience=3), [0.5 - 0.0004 * step for step in range(60)])  # 0.0012 in three epochs
    assert drops[-1] == 0


def test_patience_counts_epochs_where_validation_is_done_less_often():
    drops, _ = follow(Schedule(patience=6), [0.5] * 8, every=3)
    assert drops == [0, 0, 1, 1, 2, 2, 3, 3]


def test_without_drops_the_first_plateau_ends_the_run():
    assert follow(Schedule(drops=0, patience=2), [0.5] * 3) == ([0, 0, 0], True)


def test_the_polynomial_rate_is_a_root_of_what_is_left():
    schedule = Schedule(kind="polynomial", epochs=60)
    assert [rate_factor(schedule, epochs, 0) for epochs in (0.0, 45.0, 60.0)] == pytest.approx([1, 0.5, 0])


def test_the_exponential_and_the_inverse_rate_are_followed_by_a_tail():
    schedule = Schedule(kind="exponential", epochs=100, decay=0.02, tail=10, final=0.001)
    rates = [rate_factor(schedule, epochs, 0) for epochs in (0.0, 50.0, 89.99, 90.0, 99.0)]
    assert rates == pytest.approx([1, math.exp(-1), math.exp(-1.7998), 0.001, 0.001])
    schedule = Schedule(kind="inverse", epochs=720, decay=781.25 * 5e-6, tail=36, final=0.1)
    rates = [rate_factor(schedule, epochs, 0) for epochs in (0.0, 256.0, 683.99, 684.0)]
    assert rates == pytest.approx([1, 0.5, 0.2723, 0.1], rel=1e-3)  # 1 / (1 + 5e-6 · 200,000 updates)


@pytest.mark.parametrize("kind", ["milestones", "cosine", "one-cycle", "polynomial", "exponential", "inverse"])
def test_schedules_of_another_kind_have_no_plateau(kind):
    assert follow(Schedule(kind=kind), [0.5] * 100) == ([0] * 100, False)


def test_the_rate_of_a_plateau_is_divided_by_ten_at_each_drop():
    assert [rate_factor(Schedule(), 30.0, drops) for drops in range(4)] == pytest.approx([1, 0.1, 0.01, 0.001])


def test_the_rate_drops_at_milestones():
    schedule = Schedule(kind="milestones", milestones=(3, 5), factor=4)
    assert [rate_factor(schedule, float(epochs), 0) for epochs in (0, 2.99, 3, 4.5, 5, 6)] == [
        1,
        1,
        1 / 4,
        1 / 4,
        1 / 16,
        1 / 16,
    ]


def test_cosine_falls_from_one_to_its_end_with_half_of_it_in_the_middle():
    schedule = Schedule(kind="cosine", epochs=10, final=0.2)
    assert [rate_factor(schedule, float(epochs), 0) for epochs in (0, 5, 10)] == pytest.approx([1, 0.6, 0.2])


def test_one_cycle_rises_and_falls_in_straight_lines():
    schedule = Schedule(kind="one-cycle", epochs=10, warm_up=2)
    assert [rate_factor(schedule, float(epochs), 0) for epochs in (0, 1, 2, 6, 10)] == pytest.approx(
        [0, 0.5, 1, 0.5, 0]
    )


@given(
    kind=st.sampled_from(["plateau", "milestones", "cosine", "one-cycle"]),
    epochs=st.floats(0, 10),
    warm_up=st.floats(0, 9),
    drops=st.integers(0, 3),
)
def test_the_factor_lies_between_nothing_and_one(kind, epochs, warm_up, drops):
    schedule = Schedule(kind=kind, epochs=10, warm_up=warm_up, milestones=(4,))
    assert 0 <= rate_factor(schedule, epochs, drops) <= 1
