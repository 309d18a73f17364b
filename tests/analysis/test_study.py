"""From run directories to laws: the truth of a simulated sweep comes back."""

import pytest
from simulated_sweep import TRUE_EXPONENT, SweepFolder, noisy_error, science, true_error

from analysis.fit import FitStatus
from analysis.load import load_sweep
from analysis.study import study_metric


def test_the_exponents_of_a_simulated_sweep_are_recovered(sweep_folder: SweepFolder) -> None:
    sweep_folder.add_grid(true_error)
    study = study_metric(load_sweep(sweep_folder.path), "linear_probe.top1", num_refits=20)
    for objective, exponent in TRUE_EXPONENT.items():
        law = study.laws[objective].fit.law
        assert law is not None
        assert (law.floor, law.exponent) == pytest.approx((0.1, exponent), rel=1e-4)


def test_with_two_percent_noise_the_intervals_hold_the_true_exponents(sweep_folder: SweepFolder) -> None:
    sweep_folder.add_grid(noisy_error(seed=5))
    study = study_metric(load_sweep(sweep_folder.path), "linear_probe.top1", num_refits=200)
    for objective, exponent in TRUE_EXPONENT.items():
        bootstrap = study.laws[objective].bootstrap
        assert bootstrap is not None
        lower, upper = bootstrap.interval("exponent")
        assert lower < exponent < upper


def test_failed_runs_do_not_enter_a_fit(sweep_folder: SweepFolder) -> None:
    sweep_folder.add_grid(true_error, objectives=("superclass",))
    failed = sweep_folder.add(science("superclass", "vit_tiny8", 65_536), "diverged", reason="loss is nan")
    study = study_metric(load_sweep(sweep_folder.path), "linear_probe.top1", num_refits=20)
    assert study.laws["superclass"].fit.num_points == 9
    assert failed in set(study.waiting["run_id"])


def test_the_floor_stays_below_the_error_of_guessing(sweep_folder: SweepFolder) -> None:
    sweep_folder.add_grid(true_error)
    study = study_metric(load_sweep(sweep_folder.path), "linear_probe.top1", num_refits=20)
    assert study.laws["clip"].fit.options.ceiling == pytest.approx(1 - 1 / 64)


def test_an_objective_without_a_finished_run_has_no_law_but_a_reason(sweep_folder: SweepFolder) -> None:
    sweep_folder.add(science("clip", "vit_nano8", 8_192), "queued")
    law = study_metric(load_sweep(sweep_folder.path), "linear_probe.top1").laws["clip"]
    assert law.fit.status is FitStatus.TOO_FEW_POINTS and law.bootstrap is None


def test_losses_are_fitted_in_logarithms_and_without_a_ceiling(sweep_folder: SweepFolder) -> None:
    sweep_folder.add_grid(true_error)
    study = study_metric(load_sweep(sweep_folder.path), "held_out_loss.loss", num_refits=20)
    law = study.laws["superclass"].fit
    assert law.options.residual == "log_error" and law.law is not None
    assert law.law.floor == pytest.approx(3.2, rel=1e-3)  # 3 + 2 x 0.1
