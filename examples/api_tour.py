"""A tour of tlaam in Python: every verb, on drawn photographs, with a network small enough for a minute.

python examples/api_tour.py            # all of it, in a folder of its own
python examples/api_tour.py model.onnx photo.jpg    # what goes without PyTorch
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import tlaam

SMALL = {"backbone": "test_resnet", "pretrained": "none", "image_size": 64, "source_size": 96, "workers": 0}
"""For the tour alone: with your own photographs leave them out, and weights and sizes are chosen for them."""


def draw_photographs(folder: Path) -> Path:
    """Write three classes of eight small pictures each."""
    random = np.random.default_rng(0)
    for name, colour in {"crow": (30, 30, 40), "jay": (60, 110, 200), "wren": (150, 100, 60)}.items():
        (folder / name).mkdir(parents=True)
        for number in range(8):
            image = Image.new("RGB", (80, 60), tuple(int(level) for level in random.integers(150, 220, 3)))
            x, y = (int(place) for place in random.integers(5, 30, 2))
            ImageDraw.Draw(image).ellipse((x, y, x + 30, y + 26), fill=colour)
            image.save(folder / name / f"{number}.png")
    return folder


def without_torch(model: Path, photo: Path) -> None:
    """Ask a model that is loaded from a file: names, boxes, pictures and tables, whatever an image comes as."""
    classifier = tlaam.load(model)
    print(classifier)

    prediction = classifier.predict(photo)  # one image: one prediction
    print(prediction.label, prediction.score, prediction.verdict, prediction.object_box)
    prediction.plot().save(model.with_suffix(".plot.png"))  # box, heat map, parts; a notebook shows it by itself

    image = Image.open(photo)
    array = np.asarray(image.convert("RGB"))
    several = classifier.predict([photo, str(photo), image, image.convert("RGBA"), image.convert("L"), array])
    print(several.to_csv(model.with_suffix(".csv")))
    for each in classifier.stream([photo, image]):  # one by one, of any number of images
        assert each.label is not None

    print(classifier.embed(photo).shape, [alike.label for alike in classifier.look_alikes(prediction, k=2)])

    for wrong in (3, b"bytes", {"image": 1}, np.zeros((3, 8, 8)), np.zeros((8, 8, 2), np.uint8), [None]):
        try:
            classifier.predict(wrong)
        except tlaam.TlaamError as error:
            print("refused:", error)
    missing = classifier.predict("no-such-photo.jpg")  # a file that cannot be read is an answer with an error
    assert missing.label is None and missing.error is not None
    print("answered:", missing.error)
    try:
        classifier.export(model.with_name("again.onnx"))
    except tlaam.TlaamError as error:
        print("refused:", error)


def with_torch(photos: Path, out: Path) -> Path:
    """Train, measure, report and export; return the exported file."""
    import torch

    # What `tlaam train photos` does, and the same files: reference index and report too.
    classifier = tlaam.fit(photos, out / "run", SMALL, epochs=2, raw_epochs=1, val_fraction=0.25, progress=False)
    assert (out / "run" / "report.html").exists() and classifier.predict(photos / "jay" / "0.png").verdict is not None

    classifier = tlaam.load(out / "run")
    photo = photos / "jay" / "0.png"
    levels = torch.from_numpy(np.array(Image.open(photo).convert("RGB"))).permute(2, 0, 1)
    of_file, of_levels, of_floats = classifier.predict([photo, levels, levels / 255])
    assert of_file.label == of_levels.label == of_floats.label
    try:
        classifier.predict((levels / 255 - 0.45) / 0.22)  # normalised already
    except tlaam.TlaamError as error:
        print("refused:", error)

    folder = classifier.predict(photos / "jay")  # a folder stands for the images in it
    print(len(folder), "of the jays are called", sorted({each.label for each in folder if each.label}))
    try:
        print(folder.to_pandas().head())
    except tlaam.TlaamError as error:  # pandas is used where it is installed
        print("refused:", error)

    print(classifier.evaluate(photos).table())
    pairs = [(Image.open(photos / name / "0.png"), name) for name in classifier.classes]
    print(classifier.evaluate(pairs, split="train").images, "images in memory measured")

    print("report:", classifier.report(out / "report.html"))
    classifier.export(out / "model.onnx", images=[str(photos / "crow")])
    exported = tlaam.load(out / "model.onnx")
    print(exported.evaluate(photos).table())  # an exported file is measured on the same images as its run
    print("report:", exported.report(out / "exported.html", photos))
    try:
        exported.report()
    except tlaam.TlaamError as error:
        print("refused:", error)
    try:
        print("sent to", classifier.push_to_hub("me/birds"))
    except tlaam.TlaamError as error:  # without a token, say
        print("refused:", error)
    return out / "model.onnx"


def main(arguments: list[str]) -> None:
    """Take the tour."""
    if arguments:
        model, photo = map(Path, arguments)
        without_torch(model, photo)
        return
    with tempfile.TemporaryDirectory() as folder:
        photos = draw_photographs(Path(folder) / "photos")
        model = with_torch(photos, Path(folder))
        without_torch(model, photos / "jay" / "0.png")


if __name__ == "__main__":
    main(sys.argv[1:])
