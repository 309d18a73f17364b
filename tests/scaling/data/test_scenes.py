from __future__ import annotations

import hashlib

import numpy as np

from scaling.data.rendering.drawing import draw_scene
from scaling.data.rendering.rendered import rendered_sample
from scaling.data.rendering.scene_captions import SYNONYMS, caption_scene, word_order_captions
from scaling.data.rendering.scenes import (
    CLASSES,
    SHAPES,
    is_held_out,
    num_discrete_scenes,
    sample_scene,
)


def test_there_are_more_than_a_million_scenes_before_any_continuous_choice() -> None:
    assert num_discrete_scenes() > 1_000_000


def test_no_two_indices_give_the_same_picture() -> None:
    pictures = {
        hashlib.sha256(rendered_sample(0, "train", index, 32)["jpg"]).digest() for index in range(2000)
    }
    assert len(pictures) == 2000


def test_a_sample_is_a_function_of_seed_split_and_index() -> None:
    one = rendered_sample(0, "train", 7, 64)
    assert one == rendered_sample(0, "train", 7, 64)
    assert one["jpg"] != rendered_sample(1, "train", 7, 64)["jpg"]
    assert one["jpg"] != rendered_sample(0, "validation", 7, 64)["jpg"]


def _looks(split: str, count: int) -> set[tuple[str, str, str]]:
    scenes = (sample_scene(0, split, index) for index in range(count))  # type: ignore[arg-type]
    return {(thing.colour, thing.shape, thing.texture) for scene in scenes for thing in scene.objects}


def test_training_shows_every_attribute_but_no_held_out_combination() -> None:
    trained = _looks("train", 3000)
    assert not any(is_held_out(*look) for look in trained)
    assert {shape for _, shape, _ in trained} == set(SHAPES)


def test_every_held_out_scene_shows_an_unseen_combination() -> None:
    for index in range(200):
        first = sample_scene(0, "held_out", index).objects[0]
        assert is_held_out(first.colour, first.shape, first.texture)


def test_labelled_scenes_cover_all_classes_evenly_with_the_object_that_the_label_names() -> None:
    scenes = [sample_scene(0, "labelled_test", index) for index in range(128)]
    assert np.bincount([scene.label for scene in scenes], minlength=len(CLASSES)).tolist() == [2] * 64
    assert all(len({(thing.colour, thing.shape) for thing in scene.objects}) == 1 for scene in scenes)


def test_an_object_left_of_another_is_drawn_left_of_it() -> None:
    for index in range(400):
        scene = sample_scene(0, "word_order", index)
        first, second = scene.objects
        axis, sign = {"left of": (0, 1), "right of": (0, -1), "above": (1, 1), "below": (1, -1)}[
            scene.relation or ""
        ]
        assert sign * (second.centre[axis] - first.centre[axis]) > 0.3


def test_word_order_alone_separates_a_true_caption_from_its_foil() -> None:
    for index in range(50):
        scene = sample_scene(0, "word_order", index)
        true, false = word_order_captions(scene, np.random.default_rng(index))
        assert true != false
        assert sorted(true.split()) == sorted(false.split())


def test_captions_of_one_scene_vary_but_always_name_the_shape() -> None:
    scene = sample_scene(0, "labelled_train", 3)
    captions = {caption_scene(scene, np.random.default_rng(draw)) for draw in range(100)}
    assert len(captions) > 50
    stems = SYNONYMS[scene.objects[0].shape]
    assert all(any(stem in caption for stem in stems) for caption in captions)


def test_colours_can_be_told_apart_in_the_drawing() -> None:
    """The middle of a large plain square, drawn red and blue, differs in the expected channels."""
    pixels = {}
    for index in range(20_000):
        scene = sample_scene(0, "labelled_train", index)
        thing = scene.objects[0]
        if (thing.shape, thing.size, thing.texture) == ("square", "large", "plain") and scene.word is None:
            if thing.colour in ("red", "blue") and thing.colour not in pixels:
                x, y = (round(64 * place) for place in thing.centre)
                pixels[thing.colour] = np.asarray(draw_scene(scene, 64)).astype(int)[y, x]
        if len(pixels) == 2:
            break
    assert pixels["red"][0] > pixels["red"][2] + 50
    assert pixels["blue"][2] > pixels["blue"][0] + 50
