from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tlaam.data.input_image import load_for_input
from tlaam.data.sample import Sample
from tlaam.errors import DataError
from tlaam.training.dataset import EvaluationImages, TrainingImages
from tlaam.training.loading import batch_loader, with_plain_errors
from tlaam.training.sampler import StepBatches
from tlaam.training.transforms import Augment


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    pixels = np.full((600, 800, 3), 40, dtype=np.uint8)
    pixels[200:400, 100:500, 0] = 250
    Image.fromarray(pixels).save(tmp_path / "large.jpg", quality=95)
    return Sample(str(tmp_path / "large.jpg"), "large.jpg", 2, "train", (100.0, 200.0, 500.0, 400.0))


@pytest.mark.parametrize(
    ("input_image", "decoded"), [(64, (100, 75)), (80, (200, 150)), (200, (400, 300)), (400, (800, 600))]
)
def test_decoding_is_reduced_but_never_below_the_input_image(
    sample: Sample, input_image: int, decoded: tuple[int, int]
) -> None:
    image, size = load_for_input(sample.path, input_image)
    assert image.size == decoded
    assert size == (800, 600)
    assert load_for_input(sample.path, input_image, smallest_side=input_image / 601)[0].size == (800, 600)


@pytest.mark.parametrize("side", [64, 300])
def test_evaluation_item(sample: Sample, side: int) -> None:
    item = EvaluationImages([sample], side)[0]
    assert item.input_image.shape == (3, side, side)
    assert (int(item.label), int(item.position), item.size.tolist()) == (2, 0, [800, 600])
    torch.testing.assert_close(item.box, torch.tensor([1 / 8, 1 / 3, 5 / 8, 2 / 3]) * side)


@pytest.mark.parametrize("side", [64, 300])
def test_training_boxes_fit_images_decoded_at_a_reduced_size(sample: Sample, side: int) -> None:
    images = TrainingImages([sample], side, Augment(side, flip=True, jitter=0, crop_scale=0.6), seed=0)
    for epoch in range(8):
        item = images[epoch, 0]
        rows, columns = torch.nonzero(item.input_image[0] > 145, as_tuple=True)
        found = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (found - item.box).abs().max() <= 2.0


@pytest.mark.parametrize("side", [64, 300])
def test_a_banner_is_neither_seen_nor_measured(sample: Sample, side: int) -> None:
    pixels = np.asarray(Image.open(sample.path)).copy()
    pixels[-20:] = 255
    Image.fromarray(pixels).save(sample.path.with_suffix(".png"))
    box = (100.0, 200.0, 500.0, 590.0)  # reaches into the banner
    with_banner = replace(sample, file=str(sample.path.with_suffix(".png")), box=box, banner=20)
    item = EvaluationImages([with_banner], side)[0]
    assert item.size.tolist() == [800, 580]
    assert item.input_image[1].max() < 60  # green: neither the photograph's ground nor its object has much of it
    torch.testing.assert_close(item.box, torch.tensor([1 / 8, 200 / 580, 5 / 8, 1]) * side)
    trained = TrainingImages([with_banner], side, Augment(side, flip=False, jitter=0, crop_scale=1), seed=0)[0, 0]
    assert trained.input_image[1].max() < 60
    torch.testing.assert_close(trained.box, item.box)


def test_only_the_window_is_seen(sample: Sample) -> None:
    left, top, right, bottom = 100, 150, 500, 450
    part = replace(sample, box=(0.0, 30.0, 100.0, 300.0), window=(left, top, right, bottom))
    cut = sample.path.with_name("cut.png")
    sample.picture().crop((left, top, right, bottom)).save(cut)
    of_file = replace(part, file=str(cut), window=None)
    for one, other in zip(*(EvaluationImages([each], 64)[0] for each in (part, of_file)), strict=True):
        torch.testing.assert_close(one, other)
    augment = Augment(64, flip=True, jitter=0, crop_scale=0.7)
    for one, other in zip(*(TrainingImages([each], 64, augment, 0)[3, 0] for each in (part, of_file)), strict=True):
        torch.testing.assert_close(one, other)


def test_batches_of_items(sample: Sample) -> None:
    images = TrainingImages([sample] * 5, 32, Augment(32, flip=True, jitter=0.1, crop_scale=1), seed=0)
    batches = list(batch_loader(images, StepBatches(5, 2, 1, seed=0), 0, pin=False))
    assert [len(batch.label) for batch in batches] == [2, 3]
    assert batches[0].input_image.shape == (2, 3, 32, 32) and batches[0].box.shape == (2, 4)
    assert sorted(torch.cat([batch.position for batch in batches]).tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_one_plain_line(tmp_path: Path, workers: int) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    images = EvaluationImages([Sample(str(tmp_path / "broken.jpg"), "broken.jpg", 0, "val")], 32)
    with pytest.raises(DataError) as caught:
        list(with_plain_errors(batch_loader(images, [[0]], workers, pin=False)))
    message = str(caught.value)
    assert "broken.jpg" in message and "\n" not in message and "Traceback" not in message
