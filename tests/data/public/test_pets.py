from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tlaam.data.check import check
from tlaam.data.open import open_dataset
from tlaam.data.public.pets import is_pets, read_pets
from tlaam.data.sample import Mask
from tlaam.errors import DataError

TRAINVAL = "Abyssinian_100 1 1 1\namerican_bulldog_7 2 2 1\nBengal_3 3 1 2\n"
TEST = "american_bulldog_8 2 2 1\nAbyssinian_2 1 1 1\n"


def _write(root: Path, trainval: str | None = TRAINVAL, test: str | None = TEST) -> Path:
    (root / "annotations").mkdir(parents=True)
    for name, text in (("trainval", trainval), ("test", test)):
        if text is not None:
            (root / "annotations" / f"{name}.txt").write_text(text)
    return root


def test_the_lists(tmp_path: Path) -> None:
    root = _write(tmp_path / "oxford-iiit-pet")
    images = read_pets(root)
    assert (images.name, images.kind, images.root) == ("oxford-iiit-pet", "pets", root)
    assert images.classes == ("Abyssinian", "american_bulldog", "Bengal")
    assert [(s.name, s.label, s.split) for s in images.samples] == [
        ("images/Abyssinian_100.jpg", 0, "train"),
        ("images/american_bulldog_7.jpg", 1, "train"),
        ("images/Bengal_3.jpg", 2, "train"),
        ("images/american_bulldog_8.jpg", 1, "test"),
        ("images/Abyssinian_2.jpg", 0, "test"),
    ]
    assert all(s.path == root / s.name and s.box is None for s in images.samples)
    assert read_pets(tmp_path) == open_dataset(root) == open_dataset(tmp_path) == images
    assert is_pets(root) and is_pets(tmp_path) and not is_pets(tmp_path / "absent")


@pytest.mark.parametrize(
    ("lists", "fault"),
    [
        ((None, TEST), "looks like the Oxford-IIIT Pet data set, but 'trainval.txt' is missing"),
        ((TRAINVAL, None), "'test.txt' is missing"),
        ((TRAINVAL, "Abyssinian_2 1 1\n"), "test.txt' line 1: 'Abyssinian_2 1 1' is not of the form"),
        ((TRAINVAL, "Abyssinian_2 one 1 1\n"), "test.txt' line 1: 'one' is not an id"),
        ((TRAINVAL, "\nBengal_9 1 1 1\n"), "test.txt' line 2: class 1 is 'Bengal' here, but 'Abyssinian' before"),
        ((TRAINVAL, "Bengal_9 4 1 1\n"), "Two classes of .* are called 'Bengal'"),
        ((TRAINVAL, "Bengal_3 3 1 2\n"), "test.txt' line 1: image 'Bengal_3' is listed already, in .*line 3"),
        ((TRAINVAL, "Birman_3 4 1 2\n"), "Class 'Birman'.*no training image"),
        (("\n", "\n"), "name no image"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, lists: tuple[str | None, str | None], fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        read_pets(_write(tmp_path, *lists))


def test_masks_are_optional_and_leave_the_fingerprint_alone(tmp_path: Path) -> None:
    root = _write(tmp_path / "oxford-iiit-pet")
    without = read_pets(root)
    assert all(sample.mask is None for sample in without.samples)
    (root / "annotations" / "trimaps").mkdir()
    trimap = root / "annotations" / "trimaps" / "Bengal_3.png"
    trimap.touch()
    images = read_pets(root)
    masks = [sample.mask for sample in images.samples]
    assert masks == [None, None, Mask(trimap, range(1, 2), range(2, 3)), None, None]
    assert images.fingerprint() == without.fingerprint()


def test_as_torchvision_reads_it(tmp_path: Path) -> None:
    from torchvision.datasets import OxfordIIITPet

    images = open_dataset(_write(tmp_path / "oxford-iiit-pet"))
    (images.root / "images").mkdir()
    for number, sample in enumerate(images.samples):
        Image.new("RGB", (20, 20), (40 * number, 0, 0)).save(sample.path, "PNG")
    for name, split in (("trainval", "train"), ("test", "test")):
        reference = OxfordIIITPet(tmp_path, split=name)
        ours = [(Image.open(sample.path).getpixel((0, 0)), sample.label) for sample in images.split(split)]  # type: ignore[arg-type]
        assert ours == [(image.getpixel((0, 0)), label) for image, label in reference]
        titles = {label: images.classes[label].replace("_", " ").title() for _, label in ours}
        assert [titles[label] for label in sorted(titles)] == reference.classes
    report = check(images.root)
    assert report.findings == () and report.refusal is None


def test_real_metadata(shared_data: Path) -> None:
    images = open_dataset(shared_data / "formats" / "oxford-iiit-pet")
    assert images.kind == "pets"
    assert images.classes == ("Abyssinian", "american_bulldog", "Bengal")  # the official ids 1, 2 and 6
    assert (len(images.split("train")), len(images.split("val")), len(images.split("test"))) == (300, 0, 298)
    assert images.samples[0].name == "images/Abyssinian_100.jpg"
    assert all(sample.path.name.startswith(images.classes[sample.label]) for sample in images.samples)
