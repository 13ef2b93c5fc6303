"""Intervals hold the truth and tests find little that is not there, at the sizes of the default run."""

import pytest

from bench import coverage


@pytest.mark.parametrize("noise", ["normal", "skewed to the right (gamma, 1)"])
def test_intervals_of_changes_and_stars(noise):
    assert coverage.changes(noise, 150)["held"] > 0.88
    # A star is a rise, half of the test's 5%.
    assert coverage.stars(noise, 1000)["rise"] < 0.045


def test_a_test_by_sign_flips_finds_too_many_rises_where_differences_are_skewed_to_the_left():
    """The assumption that the pages state."""
    assert 0.05 < coverage.stars("skewed to the left (gamma, 1)", 1000)["rise"] < 0.12


@pytest.mark.parametrize("noise", ["normal", "skewed to the right (gamma, 1)"])
def test_a_set_beside_draws(noise):
    found = coverage.draws(noise, 300, 20)
    assert found["held"] > 0.88 and found["rise and rank 1"] < 0.03 and found["rank 1"] < 0.1


@pytest.mark.parametrize("specific", [False, True])
def test_scores_of_matrices(specific):
    assert min(coverage.scores(specific, 60).values()) > 0.85


def test_claims_over_languages_and_layers():
    found = coverage.claims("normal", 400)
    assert found["mean held"] > 0.9 and found["mean found above"] < 0.06 and found["U found"] < 0.12
