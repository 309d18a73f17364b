"""What is drawn for a showing depends on its seed alone, and is distributed as torchvision draws it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

from model_zoo.targets import TokenRows
from scaling.data.batches import Batch
from scaling.data.images.augmentation import PIXEL_STATISTICS, Augmentation
from scaling.data.images.device_augmentation import augment, draw_colours, prepare
from scaling.data.images.draws import showing_seed, uniform, uniforms
from scaling.data.images.transforms import draw_crop

STRONG = Augmentation(
    crop_scale_min=0.4, flip_probability=0.5, jitter_probability=0.8, grayscale_probability=0.2
)
SEEDS = np.array([showing_seed(7, 0, sample) for sample in range(4000)])
CPU = torch.device("cpu")


def pictures(count: int, height: int = 11, width: int = 13) -> torch.Tensor:
    noise = np.random.default_rng(1).integers(0, 256, (count, 3, height, width), dtype=np.uint8)
    noise[0], noise[1] = 0, 128  # no hue at all
    return torch.from_numpy(noise)


def batch_of(images: torch.Tensor, seeds: np.ndarray[Any, Any] | None) -> Batch:
    count = len(images)
    return Batch(
        images_BCHW=images,
        targets=TokenRows(torch.zeros(count, 4, dtype=torch.int64), torch.ones(count, dtype=torch.bool)),
        sample_ids_B=torch.arange(count),
        num_undecodable=0,
        num_empty_captions=0,
        seeds_B=None if seeds is None else torch.from_numpy(seeds[:count]),
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"crop_scale_min": 0.0}, r"crop_scale_min \(0\) must be above 0"),
        ({"crop_scale_min": 0.9, "crop_scale_max": 0.5}, r"crop_scale_min \(0.9\) must be from 0 to 0.5"),
        ({"crop_scale_max": 1.5}, r"crop_scale_max \(1.5\) must be from 0.9 to 1"),
        ({"jitter_probability": 1.2}, r"jitter_probability \(1.2\) must be from 0 to 1"),
        ({"flip_probability": float("nan")}, r"flip_probability \(nan\)"),
        ({"jitter_contrast": -0.1}, r"jitter_contrast \(-0.1\) must be from 0"),
        ({"jitter_hue": 0.6}, r"jitter_hue \(0.6\) must be from 0 to 0.5"),
        ({"pixel_statistics": "mnist"}, r"'mnist'.*clip, imagenet"),
    ],
)
def test_an_augmentation_that_cannot_be_is_refused_by_the_name_of_its_field(
    wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Augmentation(**wrong)


def test_pixel_statistics_are_those_of_open_clip() -> None:
    from open_clip import constants

    clip, imagenet = PIXEL_STATISTICS["clip"], PIXEL_STATISTICS["imagenet"]
    assert (clip.mean, clip.deviation) == (constants.OPENAI_DATASET_MEAN, constants.OPENAI_DATASET_STD)
    assert (imagenet.mean, imagenet.deviation) == (constants.IMAGENET_MEAN, constants.IMAGENET_STD)


def test_an_augmentation_can_be_planned_without_loading_torch() -> None:
    code = "import sys; import scaling.data.images.augmentation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_draws_of_one_seed_and_of_many_are_the_same_uniform_numbers() -> None:
    for number in (0, 39, 51):
        many = uniforms(SEEDS, number)
        assert many[:50].tolist() == [uniform(int(seed), number) for seed in SEEDS[:50]]
        assert stats.kstest(many, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(uniforms(SEEDS, 0), uniforms(SEEDS, 1))[0, 1]) < 0.06, "4 deviations of 4000 draws"
    consecutive = uniforms(np.arange(4000), 5)  # seeds that nobody mixed
    assert stats.kstest(consecutive, "uniform").pvalue > 1e-3


def test_a_showings_seed_differs_by_run_epoch_and_sample_and_fits_int64() -> None:
    seeds = {
        showing_seed(run, epoch, sample) for run in range(3) for epoch in range(3) for sample in range(3)
    }
    assert len(seeds) == 27 and all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [
        (60, 80, (0.4, 1.0)),
        (64, 64, (0.9, 1.0)),
        (20, 70, (0.1, 1.0)),
        (20, 70, (0.9, 1.0)),
        (70, 20, (0.9, 1.0)),
    ],
)
def test_crops_are_distributed_as_torchvisions(height: int, width: int, scale: tuple[float, float]) -> None:
    theirs = v2.RandomResizedCrop(16, scale=scale)
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    torch.manual_seed(0)
    expected = [tuple(theirs.make_params([image]).values()) for _ in range(2000)]
    crops = [
        draw_crop(height, width, scale_min=scale[0], scale_max=scale[1], seed=int(s)) for s in SEEDS[:2000]
    ]
    ours = [(crop.top, crop.left, crop.height, crop.width) for crop in crops]
    for of_ours, of_theirs in zip(zip(*ours), zip(*expected), strict=True):
        assert stats.ks_2samp(of_ours, of_theirs).pvalue > 1e-3


def test_a_crop_is_drawn_in_each_direction_by_itself() -> None:
    crops = [draw_crop(64, 64, scale_min=0.4, scale_max=0.4, seed=int(seed)) for seed in SEEDS[:2000]]
    places = [(crop.top / (65 - crop.height), crop.left / (65 - crop.width)) for crop in crops]
    assert abs(np.corrcoef(places, rowvar=False)[0, 1]) < 0.09, "4 deviations of 2000 draws"


def test_every_jitter_equals_torchvisions_own_operations_for_the_same_draws() -> None:
    """Exactly, but for the rounding of float32."""
    F = v2.functional
    images, draws = pictures(96), draw_colours(SEEDS[:96], STRONG)
    augmented = augment(images, draws)
    operations = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    for row, image in enumerate(images):
        expected = image.float() / 255
        if draws.flip_B[row]:
            expected = F.horizontal_flip(expected)
        for operation in draws.order_BP[row] if draws.jitter_B[row] else ():
            expected = operations[operation](expected, float(draws.factors_BP[row, operation]))
        if draws.grayscale_B[row]:
            expected = F.rgb_to_grayscale(expected, 3)
        torch.testing.assert_close(augmented[row], expected, rtol=0, atol=1e-5)


def test_colours_are_drawn_as_torchvisions_color_jitter_draws_them() -> None:
    theirs = v2.ColorJitter(0.32, 0.32, 0.32, 0.08)
    torch.manual_seed(0)
    expected = [theirs.make_params([pictures(2)]) for _ in range(4000)]
    draws = draw_colours(SEEDS, STRONG)
    names = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
    for place, name in enumerate(names):
        assert stats.ks_2samp(draws.factors_BP[:, place], [draw[name] for draw in expected]).pvalue > 1e-3
    _, counts = np.unique(draws.order_BP, axis=0, return_counts=True)
    assert len(counts) == 24 and stats.chisquare(counts).pvalue > 1e-3, "all orders alike"
    for chosen, probability in ((draws.flip_B, 0.5), (draws.jitter_B, 0.8), (draws.grayscale_B, 0.2)):
        assert stats.binomtest(int(chosen.sum()), len(SEEDS), probability).pvalue > 1e-3


def test_augmented_pixels_are_distributed_as_torchvisions() -> None:
    """One picture shown 1,000 times each way: the mean brightness, saturation and side of what comes out."""
    picture = pictures(3)[2:]
    picture[..., :6] //= 2  # left darker
    theirs = v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5),
            v2.RandomApply([v2.ColorJitter(0.32, 0.32, 0.32, 0.08)], 0.8),
            v2.RandomGrayscale(0.2),
        ]
    )
    torch.manual_seed(0)
    expected = torch.cat([theirs(picture.float() / 255) for _ in range(1000)])
    shown = augment(picture.expand(1000, -1, -1, -1), draw_colours(SEEDS[:1000], STRONG))
    for measure in (
        lambda images: images.mean((1, 2, 3)),
        lambda images: (images.amax(1) - images.amin(1)).mean((1, 2)),
        lambda images: images[..., :6].mean((1, 2, 3)) - images[..., 7:].mean((1, 2, 3)),
        lambda images: images.std((1, 2, 3)),
    ):
        assert stats.ks_2samp(measure(shown), measure(expected)).pvalue > 1e-3


def test_prepared_images_do_not_depend_on_the_micro_batch() -> None:
    batch = batch_of(pictures(21), SEEDS)
    before = batch.images_BCHW.clone()
    whole = prepare(batch, slice(0, 21), STRONG, CPU)
    parts = [prepare(batch, slice(start, start + 4), STRONG, CPU) for start in range(0, 21, 4)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-6)
    again = prepare(batch, slice(0, 21), STRONG, CPU)
    assert torch.equal(again, whole) and torch.equal(batch.images_BCHW, before), "preparing changes no batch"


@pytest.mark.parametrize("statistics", ["clip", "imagenet"])
def test_without_draws_only_the_chosen_statistics_are_taken_out(statistics: Any) -> None:
    images = pictures(3)
    prepared = prepare(batch_of(images, None), slice(1, 3), Augmentation(pixel_statistics=statistics), CPU)
    of = PIXEL_STATISTICS[statistics]
    expected = v2.functional.normalize(images[1:].double() / 255, list(of.mean), list(of.deviation))
    torch.testing.assert_close(prepared.double(), expected, rtol=0, atol=1e-5)
    greys = Augmentation(pixel_statistics=statistics, grayscale_probability=1.0)
    grey = prepare(batch_of(images, SEEDS), slice(1, 3), greys, CPU)
    expected_grey = v2.functional.rgb_to_grayscale(images[1:].double() / 255, 3)
    expected_grey = v2.functional.normalize(expected_grey, list(of.mean), list(of.deviation))
    torch.testing.assert_close(grey.double(), expected_grey, rtol=0, atol=1e-5)


def test_colours_cannot_be_drawn_for_a_batch_without_seeds() -> None:
    with pytest.raises(ValueError, match="needs a seed for every showing"):
        prepare(batch_of(pictures(3), None), slice(0, 3), STRONG, CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_an_accelerator_prepares_the_images_that_a_cpu_does() -> None:
    batch = batch_of(pictures(40), SEEDS)
    there = prepare(batch, slice(0, 40), STRONG, torch.device("cuda"))
    torch.testing.assert_close(there.cpu(), prepare(batch, slice(0, 40), STRONG, CPU), rtol=0, atol=1e-4)
