"""Tasks by name: what a record gets, and clear refusals before any work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scaling.data.indexed import IndexedDataset
from scaling.data.labelled import read_labelled_set
from scaling.evaluate.context import EvaluationContext
from scaling.evaluate.features import Ranks
from scaling.evaluate.tasks import TASKS, run_tasks
from scaling.points import SCORED_BY_HEAD
from scaling.points import TASKS as TASKS_OF_PLANS

Make = Callable[..., EvaluationContext]
OF_CLIP = ["held_out_loss", "linear_probe", "zero_shot", "retrieval"]
OF_SUPERCLASS = ["held_out_loss", "linear_probe", "zero_shot_head", "retrieval_head"]


def test_every_task_that_can_be_planned_has_an_evaluator() -> None:
    assert {*TASKS_OF_PLANS, *SCORED_BY_HEAD.values()} == set(TASKS)


@pytest.mark.parametrize(("objective", "names"), [("clip", OF_CLIP), ("superclass", OF_SUPERCLASS)])
def test_an_evaluation_says_what_was_measured_how_and_when(
    objective: str, names: list[str], context_of: Make, request: pytest.FixtureRequest
) -> None:
    evaluations = list(run_tasks(names, context_of(request.getfixturevalue(objective))))
    assert [evaluation.task for evaluation in evaluations] == names
    for evaluation in evaluations:
        assert "@" in evaluation.protocol and evaluation.samples_seen == 1_234
        assert evaluation.seconds > 0 and evaluation.num_samples > 0
        assert evaluation.settings["image_size"] == 16
        if evaluation.task != "held_out_loss":
            assert all(0 <= value <= 1 for value in evaluation.metrics.values())
    keys = {evaluation.task.removesuffix("_head"): set(evaluation.metrics) for evaluation in evaluations}
    recalls = {f"{way}_recall_at_{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)}
    assert keys == {
        "held_out_loss": {"loss"},
        "linear_probe": {"top1", "chance"},
        "zero_shot": {"top1", "chance"},
        "retrieval": recalls,
    }


def test_only_the_first_rank_reports(clip: Any, context_of: Make, on_ranks: Callable[..., list[Any]]) -> None:
    first, second = on_ranks(
        2,
        lambda ranks, all_reduce: list(
            run_tasks(OF_CLIP, context_of(clip, ranks=ranks, all_reduce=all_reduce))
        ),
    )
    assert [evaluation.task for evaluation in first] == OF_CLIP and second == []


def test_a_model_in_training_is_evaluated_in_evaluation_mode_and_given_back(
    clip: Any, context_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[bool] = []
    encode_image = type(clip).encode_image
    monkeypatch.setattr(
        type(clip),
        "encode_image",
        lambda self, images: (modes.append(self.training), encode_image(self, images))[1],
    )
    clip.train()
    try:
        list(run_tasks(["held_out_loss", "zero_shot"], context_of(clip)))
        assert clip.training and modes and not any(modes)
    finally:
        clip.eval()


def test_an_unknown_task_is_refused_before_any_other_runs(clip: Any, context_of: Make) -> None:
    with pytest.raises(ValueError, match="unknown task 'linear_prob'. Did you mean 'linear_probe'"):
        next(run_tasks(["held_out_loss", "linear_prob"], context_of(clip)))


@pytest.mark.parametrize("name", ["zero_shot", "retrieval"])
def test_superclass_has_no_text_tower_and_clip_no_head(
    name: str, clip: Any, superclass: Any, context_of: Make
) -> None:
    with pytest.raises(ValueError, match=f"{name} needs a text tower.*ask for {name}_head"):
        list(run_tasks([name], context_of(superclass)))
    with pytest.raises(ValueError, match=f"{name}_head needs a classification head.*ask for {name} instead"):
        list(run_tasks([f"{name}_head"], context_of(clip)))


@pytest.mark.parametrize("name", ["linear_probe", "zero_shot"])
def test_a_task_without_its_labelled_set_says_which_key_to_set(
    name: str, clip: Any, context_of: Make
) -> None:
    with pytest.raises(ValueError, match=f"{name} needs a labelled set: set data.labelled"):
        list(run_tasks([name], context_of(clip, labelled=None)))


def test_a_labelled_set_is_read_from_its_folder(context_of: Make, clip: Any) -> None:
    labelled = context_of(clip).labelled
    assert labelled is not None and isinstance(labelled.train, IndexedDataset)
    assert labelled.class_names == ("dog", "red bird", "old cat")
    assert labelled.prompts("dog") == ["a photo of a dog.", "the dog"]
    assert len(labelled.train) == 40 and len(labelled.test) == 17


def test_a_template_without_a_place_for_the_name_is_refused(
    context_of: Make, clip: Any, tmp_path: Any
) -> None:
    (tmp_path / "classnames.txt").write_text("dog\n")
    (tmp_path / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\na photo of a dog\n")
    with pytest.raises(ValueError, match="'a photo of a dog' has no {c}"):
        read_labelled_set(tmp_path)


def test_a_folder_that_is_no_labelled_set_names_the_missing_file(tmp_path: Any) -> None:
    with pytest.raises(
        ValueError, match="zeroshot_classification_templates.txt does not exist.*scaling data render"
    ):
        read_labelled_set(tmp_path)


def test_a_single_rank_needs_neither_barrier_nor_all_reduce(
    clip: Any, context_of: Make, tmp_path: Any
) -> None:
    assert len(list(run_tasks(["held_out_loss"], context_of(clip, ranks=Ranks(scratch=tmp_path))))) == 1
