"""A fit recovers a law it was given, or says in words why it states none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit

from analysis.fit import Fit, FitStatus, fit_law, refit_laws
from analysis.laws import SaturatingPowerLaw
from analysis.problem import FitOptions

COMPUTE = np.array([size * samples for size in (1, 4, 12) for samples in (1, 3, 10)]) * 1e13


def errors(floor: float = 0.2, scale: float = 0.5, exponent: float = 0.4, noise: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(7)
    return (floor + scale * (COMPUTE / 1e13) ** -exponent) * np.exp(noise * rng.standard_normal(len(COMPUTE)))


@pytest.mark.parametrize("residual", ["error", "log_error"])
@pytest.mark.parametrize("huber_delta", [None, 1e-3])
@pytest.mark.parametrize(("floor", "exponent"), [(0.2, 0.4), (0.0, 0.15), (0.45, 1.1)])
def test_a_fit_recovers_the_law_it_was_given(
    residual: str, huber_delta: float | None, floor: float, exponent: float
) -> None:
    options = FitOptions(residual=residual, huber_delta=huber_delta, ceiling=0.99)
    fit = fit_law(COMPUTE, errors(floor=floor, exponent=exponent), options)
    assert fit.status is FitStatus.OK and fit.law is not None
    assert fit.law.floor == pytest.approx(floor, abs=1e-6)
    assert fit.law.exponent == pytest.approx(exponent, rel=1e-5)
    np.testing.assert_allclose(fit.law.predict(COMPUTE), errors(floor=floor, exponent=exponent), rtol=1e-6)


def test_with_noise_the_fit_equals_scipys_curve_fit_started_at_the_truth() -> None:
    noisy = errors(noise=0.02)
    fit = fit_law(COMPUTE, noisy)
    truth, _ = curve_fit(
        lambda c, e, s, a: e + s * (c / 1e13) ** -a, COMPUTE, noisy, p0=(0.2, 0.5, 0.4), ftol=1e-12
    )
    assert fit.law is not None
    assert (fit.law.floor, fit.law.exponent) == pytest.approx((truth[0], truth[2]), rel=1e-5)


def test_a_fit_carries_the_evidence_that_it_converged() -> None:
    fit = fit_law(COMPUTE, errors(noise=0.02))
    assert fit.gradient_norm is not None and fit.gradient_norm < 1e-8
    assert fit.starts_agreeing == 1.0
    assert fit.exponent_range is not None and fit.exponent_range[0] < 0.4 < fit.exponent_range[1]
    assert fit.num_points == 9 and fit.explained_share > 0.99


def test_no_law_of_a_grid_of_laws_beats_the_fit() -> None:
    noisy = errors(noise=0.05)
    fit = fit_law(COMPUTE, noisy, FitOptions(ceiling=0.9))
    for floor in np.linspace(0, 0.5, 26):
        for exponent in np.geomspace(0.05, 2, 40):
            for scale in np.linspace(0.2, 1.0, 33):
                law = SaturatingPowerLaw(floor=floor, scale=scale, exponent=exponent, reference_compute=1e13)
                assert np.sum((law.predict(COMPUTE) - noisy) ** 2) >= fit.objective


@pytest.mark.parametrize("count", [0, 1, 3])
def test_fewer_than_four_compute_values_are_too_few(count: int) -> None:
    fit = fit_law(np.repeat(COMPUTE[:count], 2), np.repeat(errors()[:count], 2))
    assert fit.status is FitStatus.TOO_FEW_POINTS and fit.law is None
    assert f"{count} distinct compute values" in fit.reason


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (np.full(9, 0.5), "the same at every compute"),
        (0.3 + 0.4 * (COMPUTE / COMPUTE.max()) ** 0.3, "exponent 0 is not excluded"),
        (0.5 + 0.1 * np.random.default_rng(1).uniform(-1, 1, 9), "exponent 0 is not excluded"),
        (np.where(COMPUTE == COMPUTE.min(), 0.9, 0.4), "do not bound the exponent from above"),
    ],
    ids=["flat", "rising", "scatter", "step"],
)
def test_points_that_do_not_determine_the_exponent_give_words_and_no_number(
    error: np.ndarray, why: str
) -> None:
    fit = fit_law(COMPUTE, error)
    assert fit.status is FitStatus.NOT_IDENTIFIED and fit.law is None
    assert why in fit.reason


def test_a_fit_is_either_a_law_or_a_reason() -> None:
    with pytest.raises(ValueError, match="either a law or a reason"):
        Fit(status=FitStatus.OK, options=FitOptions(), num_points=9, num_compute_values=9)


@pytest.mark.parametrize("wrong", [0.0, -0.1, np.nan, np.inf])
def test_an_error_that_is_not_a_positive_number_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="positive, finite"):
        fit_law(COMPUTE, np.append(errors()[:-1], wrong))


def test_huber_keeps_one_wild_run_from_moving_the_law() -> None:
    wild = errors(noise=0.005)
    wild[4] += 0.3
    robust = fit_law(COMPUTE, wild, FitOptions(huber_delta=0.005))
    assert robust.law is not None and robust.law.exponent == pytest.approx(0.4, rel=0.15)


def test_a_refit_with_every_point_once_is_the_fit() -> None:
    noisy = errors(noise=0.03)
    fit, refits = fit_law(COMPUTE, noisy), refit_laws(COMPUTE, noisy, np.ones((1, 9)), FitOptions())
    assert fit.law is not None and refits[0] is not None
    assert refits[0].exponent == pytest.approx(fit.law.exponent, rel=1e-6)


def test_a_refit_of_two_distinct_points_determines_no_law() -> None:
    assert refit_laws(COMPUTE, errors(), np.array([[5.0, 4.0, 0, 0, 0, 0, 0, 0, 0]]), FitOptions()) == [None]


def published_points(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """LAION's estimator (arXiv 2212.07143): lowest ImageNet error in five equal bins of log10 GMACs."""
    table = pd.read_csv(folder / "openclip" / "zeroshot_results.csv")
    table = table[(table.downstream_dataset == "imagenet1k") & table.upstream_dataset.str.startswith("LAION")]
    position = np.log10(table.gmacs_total.to_numpy())
    edges = np.linspace(position.min(), position.max() + 0.1, 6)  # its histogram ends 0.1 above the largest
    lowest = (1 - table.acc1).groupby(np.digitize(position, edges)).min()
    return 10 ** ((edges[:-1] + edges[1:]) / 2), lowest.to_numpy()


def test_the_published_law_of_open_clip_is_found_again(shared_data: Callable[[str], Path]) -> None:
    compute, error = published_points(shared_data("scaling_laws"))
    fit = fit_law(compute, error, FitOptions(residual="log_error", fixed_floor=0.0))
    assert fit.law is not None
    amplitude = fit.law.scale * fit.law.reference_compute**fit.law.exponent
    assert (amplitude, -fit.law.exponent) == pytest.approx((5.8581, -0.1114), abs=1e-4)


def test_open_clip_alone_does_not_fix_a_floor_for_image_net_error(shared_data: Callable[[str], Path]) -> None:
    table = pd.read_csv(shared_data("scaling_laws") / "openclip" / "zeroshot_results.csv")
    table = table[(table.downstream_dataset == "imagenet1k") & (table.upstream_dataset == "LAION-2B")]
    fit = fit_law(table.gmacs_total * 6e9, 1 - table.acc1, FitOptions(ceiling=0.999))
    assert fit.law is not None and fit.explained_share > 0.95 and fit.starts_agreeing == 1.0
    assert 0 <= fit.law.floor < 0.2
