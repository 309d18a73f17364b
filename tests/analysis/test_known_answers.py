"""Published fits of published data come out of the general code, to their digits or better.

The data are not part of the project; they are read beside it where they are.  Nothing is tuned to them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.fitting.fit import Fit, fit_form
from analysis.fitting.losses import huber
from analysis.fitting.observations import Observations
from analysis.fitting.options import FitOptions
from analysis.fitting.problem import Problem
from analysis.fitting.reproduction import LogLine, binned_min, log_log_line
from analysis.fitting.sensitivity import delta_sensitivity
from analysis.forms.catalogue import form_named
from analysis.forms.form import Form
from analysis.forms.pinned import Pinned

DATA = Path(__file__).parents[2] / "../shared/data/scaling_laws"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no published data at {DATA}")

ADDITIVE = form_named("additive_surface")

# ------------------------------------------------------------------------------------------- Cherti 2023 (OpenCLIP)

OPENCLIP_LAWS = {  # scale and exponent of the figures' annotations: LAION's models, OpenAI's
    "imagenet1k": ((5.86, -0.11), (23.18, -0.16)),
    "imagenet_robustness": ((11.61, -0.13), (211.66, -0.24)),
    "mscoco_captions": ((2.75, -0.08), (1.59, -0.05)),
    "flickr30k": ((15.51, -0.19), (2.21, -0.10)),
}
# percentage points
OPENCLIP_MEAN_ERRORS = {"imagenet1k": 0.8743712188927529, "mscoco_captions": 0.5884335758552488}
PASS_OF_400M = 407_332_084
SAMPLES = {
    "1B": 1e9,
    "3B": 80_000_415 * 32,
    "13B": PASS_OF_400M * 32,
    "34B": PASS_OF_400M * 84,
    "68B": PASS_OF_400M * 168,
}
IMAGENET_ACCURACIES = {  # percent; one row per architecture, one column per SAMPLES
    "ViT-B-32": (53.394741, 58.027829, 64.987286, 68.555869, 70.892272),
    "ViT-B-16": (58.411032, 62.545443, 68.755830, 71.940313, 74.025240),
    "ViT-L-14": (64.615506, 68.133123, 73.417009, 76.126414, 77.900300),
    "ViT-H-14": (67.552289, 70.777957, 75.623300, 78.107834, 79.734494),
    "ViT-g-14": (69.036414, 72.114543, 76.738265, 79.109159, 80.661417),
    "ViT-G-14": (71.057332, 73.934559, 78.256502, 80.472654, 81.923599),
}


def openclip_points(task: str, *, openai: bool) -> pd.DataFrame:
    """gmacs_total and error of the models of one laboratory."""
    table = pd.read_csv(DATA / "openclip/zeroshot_results.csv")
    chosen = table[(table.downstream_dataset == task) & ((table.upstream_dataset == "CLIP-WIT") == openai)]
    metric = "image_retrieval_recall@5" if task in ("mscoco_captions", "flickr30k") else "acc1"
    return chosen.assign(error=1 - chosen[metric])


def openclip_line(task: str) -> LogLine:
    points = openclip_points(task, openai=False)
    best = binned_min(points.gmacs_total, points.error)
    return log_log_line(best.x_B, best.error_B)


@pytest.mark.parametrize("task", sorted(OPENCLIP_LAWS))
def test_the_eight_laws_of_openclip_are_reproduced(task: str) -> None:
    openai = openclip_points(task, openai=True)
    lines = openclip_line(task), log_log_line(openai.gmacs_total, openai.error)
    for line, (scale, exponent) in zip(lines, OPENCLIP_LAWS[task], strict=True):
        assert (round(line.scale, 2), round(line.exponent, 2)) == (scale, exponent)


@pytest.mark.parametrize("task", sorted(OPENCLIP_MEAN_ERRORS))
def test_the_mean_errors_of_openclips_laws_are_reproduced_to_nine_digits(task: str) -> None:
    points, line = openclip_points(task, openai=False), openclip_line(task)
    gmacs = pd.read_csv(DATA / "openclip/arch_info.csv").set_index("model").gmacs
    best = points.groupby(["arch", "samples_seen_pretty"], as_index=False).error.min()
    total = best.arch.map(gmacs) * best.samples_seen_pretty.map(SAMPLES)
    assert 100 * np.mean(np.abs(line.predict(total) - best.error)) == pytest.approx(
        OPENCLIP_MEAN_ERRORS[task], abs=1e-9
    )


def test_the_thirty_accuracies_openclip_predicted_are_reproduced() -> None:
    line = openclip_line("imagenet1k")
    gmacs = pd.read_csv(DATA / "openclip/arch_info.csv").set_index("model").gmacs
    for arch, accuracies in IMAGENET_ACCURACIES.items():
        predicted = 100 * (1 - line.predict(gmacs[arch] * np.asarray(list(SAMPLES.values()))))
        np.testing.assert_allclose(predicted, accuracies, atol=5.1e-7)


# ------------------------------------------------------------------------------- Besiroglu 2024 (Chinchilla, refitted)


@pytest.fixture(scope="module")
def chinchilla() -> Observations:
    """The 240 of 245 points of the published fits: without the five highest losses."""
    table = pd.read_csv(DATA / "epoch_chinchilla/svg_extracted_data.csv").sort_values("loss").iloc[:-5]
    parameters = table["Model Size"].to_numpy()
    samples = table["Training FLOP"].to_numpy() / 6 / parameters
    return Observations.of(table.loss, parameters=parameters, samples_seen=samples)


def test_the_huber_sum_of_the_chinchilla_refit_is_reached(chinchilla: Observations) -> None:
    fit = fit_form(chinchilla, ADDITIVE, FitOptions(residual="log_error", huber_delta=1e-3))
    assert fit.evidence is not None and fit.evidence.objective <= 0.00101828
    assert fit.evidence.agreeing_share == 1.0
    expected = (477.84, 2143.86, 1.81724, 0.34731, 0.36718)  # the grid fit's, which stops a little earlier
    np.testing.assert_allclose(coefficients(fit), expected, rtol=5e-4)


def test_the_published_chinchilla_refit_is_that_of_absolute_residuals(chinchilla: Observations) -> None:
    fit = fit_form(chinchilla, ADDITIVE, FitOptions(residual="log_error", loss="absolute"))
    np.testing.assert_allclose(coefficients(fit), (482.01, 2085.43, 1.8172, 0.3478, 0.3658), rtol=1e-3)


def test_the_exponent_of_the_chinchilla_refit_follows_huber_delta(chinchilla: Observations) -> None:
    fit = fit_form(chinchilla, ADDITIVE, FitOptions(residual="log_error", huber_delta=1e-3))
    betas = [
        found.fit.found.value("exponent_samples_seen")
        for found in delta_sensitivity(fit, deltas=[1e-4, 1e-3, 1e-2, 1e-1])
    ]
    assert betas[0] == pytest.approx(0.365, abs=1e-3) and betas[-1] == pytest.approx(0.406, abs=1e-3)


def coefficients(fit: Fit) -> tuple[float, ...]:
    """A, B, E, alpha, beta of the additive surface in bare units."""
    law = fit.found
    return (
        law.amplitude("parameters"),
        law.amplitude("samples_seen"),
        law.value("floor"),
        law.value("exponent_parameters"),
        law.value("exponent_samples_seen"),
    )


# ------------------------------------------------------------------------------------------- McLeish 2025 (Gemstones)

GEMSTONES = [
    (delta, subset)
    for delta in (1e-3, 1e-4)
    for subset in ("cool_end", "hot", "hot_100b+", "hot_sampled_like_chinchilla", "slim_chinchilla")
]


@pytest.mark.parametrize(("delta", "subset"), GEMSTONES)
def test_every_gemstones_objective_is_matched_or_beaten(delta: float, subset: str) -> None:
    rows = pd.read_json(DATA / f"gemstones/wandb_df_for_fitting_{subset}.jsonl", lines=True)
    name = f"gemstones/published_delta1e-{round(-np.log10(delta))}_{subset}.json"
    published = json.loads((DATA / name).read_text())
    points = Observations.of(rows.final_loss, parameters=rows.params_active_precise, samples_seen=rows.tokens)
    fit = fit_form(points, ADDITIVE, FitOptions(residual="log_error", huber_delta=delta))
    assert fit.law is not None and fit.evidence is not None, fit.reason
    assert fit.evidence.objective <= published["loss"]["0"] * (1 + 1e-6)


# ----------------------------------------------------------------------------- Muennighoff 2023 (data-constrained laws)

DATABLATIONS_DELTA = 1e-3
DATABLATIONS_BASE = {  # appendix A: the law of unique data, in bare units, before repeats are fitted
    "scale_parameters": float(np.exp(6.255414)),
    "scale_samples_seen": float(np.exp(7.3049974)),
    "exponent_parameters": 0.3526596,
    "exponent_samples_seen": 0.3526596,
    "floor": float(np.exp(0.6254804)),
}
DATABLATIONS_REPEATS = {"repeats_samples_seen": 15.387756, "repeats_parameters": 5.309743}
DATABLATIONS_OBJECTIVE = 0.015825936571
BARE = {"parameters": 1.0, "samples_seen": 1.0, "unique_samples": 1.0}


@pytest.fixture(scope="module")
def datablations() -> Observations:
    """The 182 of 296 points of the published fit."""
    table = pd.read_csv(DATA / "muennighoff/datablations_runs.csv")
    used = table[table.used_in_published_fit]
    return Observations.of(
        used.val_loss,
        parameters=used.params,
        samples_seen=used.tokens,
        unique_samples=used.unique_tokens,
    )


def repeats_form() -> Form:
    return Pinned(form_named("repeated_data_surface"), tuple(DATABLATIONS_BASE.items()))


def test_the_objective_at_the_published_worth_of_repeats_is_the_published_one(
    datablations: Observations,
) -> None:
    form, options = repeats_form(), FitOptions(residual="log_error", huber_delta=DATABLATIONS_DELTA)
    problem = Problem.of(datablations, form, options, BARE)
    residual_RN = problem.residuals(form.theta(DATABLATIONS_REPEATS)[None])
    objective = huber(residual_RN, np.asarray(DATABLATIONS_DELTA)).sum()
    assert objective == pytest.approx(DATABLATIONS_OBJECTIVE, rel=1e-6)  # printed from single precision


def test_the_worth_of_repeats_is_fitted_at_least_as_well_as_published(datablations: Observations) -> None:
    options = FitOptions(residual="log_error", huber_delta=DATABLATIONS_DELTA)
    fit = fit_form(datablations, repeats_form(), options, references=BARE)
    assert fit.evidence is not None and fit.evidence.objective <= DATABLATIONS_OBJECTIVE
    assert fit.evidence.objective == pytest.approx(0.015804662, rel=1e-6)
    assert fit.found.value("repeats_samples_seen") == pytest.approx(95.4, rel=0.01)
    assert fit.found.value("repeats_parameters") == pytest.approx(1.71, rel=0.01)
