"""The public data sets that are available by name: where their archives are, and how to verify them.

Sizes and digests are those stated by others who load these files; a comment names the source of each. The files
themselves were not loaded when this was written. If a digest rejects what its publisher serves today, the digest must
be looked into and not simply trusted.
"""

from __future__ import annotations

from dataclasses import dataclass

from tlaam.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Archive:
    """A file of a data set.

    Attributes:
        file: its official name. Tar archives are extracted, other files are used as they are.
        size: size in bytes; None if nobody states it.
        digest: ``sha256:…`` or ``md5:…``; None if no trustworthy source states one.
        url: address of a download that needs no permission; None if there is none.
    """

    file: str
    size: int | None = None
    digest: str | None = None
    url: str | None = None

    @property
    def is_packed(self) -> bool:
        """Whether it contains other files."""
        return self.file.endswith((".tgz", ".tar.gz", ".tar"))


@dataclass(frozen=True)
class PublicDataSet:
    """A public data set.

    Attributes:
        name: the name it is requested by.
        title: its authors' name for it.
        about: what it shows.
        folder: its official folder. Archives that contain it begin with it; others are extracted inside it.
        archives: its files.
        holds: files and folders that a complete copy has, relative to its folder.
        page: its home page.
        obstacle: why it must be fetched by hand; None if it need not be.
        or_holds: what it holds instead in another published form, which is read as well.
    """

    name: str
    title: str
    about: str
    folder: str
    archives: tuple[Archive, ...]
    holds: tuple[str, ...]
    page: str
    obstacle: str | None = None
    or_holds: tuple[str, ...] = ()


def find(name: str) -> PublicDataSet:
    """Return the data set of that name.

    Raises:
        ConfigError: there is none; the message names the closest.
    """
    if name not in DATA_SETS:
        hint = did_you_mean(name, DATA_SETS)
        raise ConfigError(f"There is no data set '{name}'; there are {', '.join(DATA_SETS)}.{hint}")
    return DATA_SETS[name]


_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"
_STANFORD_DOGS = "http://vision.stanford.edu/aditya86/ImageNetDogs"  # as on its page; digests stand in for https
_CUB_LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt", "bounding_boxes.txt")

_ALL = (
    PublicDataSet(
        "cub",
        "CUB-200-2011",
        "200 bird species",
        "CUB_200_2011",
        (
            Archive(
                "CUB_200_2011.tgz",
                # TensorFlow Datasets, url_checksums/caltech_birds2011.txt. Those who load it from CaltechDATA state the
                # same size, and the MD5 97eceeb196236b17998738112f37df78.
                1_150_585_339,
                "sha256:0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
                "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
            ),
        ),
        (*_CUB_LISTS, "images"),
        "https://www.vision.caltech.edu/datasets/cub_200_2011/",
    ),
    PublicDataSet(
        "aircraft",
        "FGVC-Aircraft 2013b",
        "100 aircraft variants",
        "fgvc-aircraft-2013b",
        (
            Archive(
                "fgvc-aircraft-2013b.tar.gz",
                # The MD5 of DeepMind's NEVIS'22 (dm_nevis/datasets_storage/handlers/fgvc_aircraft.py) and of many more;
                # the size is stated by several who load it from this address. TensorFlow Datasets' fgvc.txt states
                # 2,770,575,360, a multiple of tar's 10,240 and so of the tar inside. torchvision states neither.
                2_753_340_328,
                "md5:d4acdd33327262359767eeaa97a4f732",
                f"{_OXFORD}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
            ),
        ),
        ("data/images", "data/variants.txt", "data/images_variant_trainval.txt", "data/images_variant_test.txt"),
        f"{_OXFORD}/fgvc-aircraft/",
    ),
    PublicDataSet(
        "cars",
        "Stanford Cars",
        "196 car models",
        "stanford_cars",
        (
            # All four: TensorFlow Datasets, url_checksums/cars196.txt, from the time when the server still had them.
            Archive(
                "cars_train.tgz",
                979_269_282,
                "sha256:512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288",
            ),
            Archive(
                "cars_test.tgz",
                977_350_468,
                "sha256:bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243",
            ),
            Archive(
                "car_devkit.tgz",
                330_960,
                "sha256:b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd",
            ),
            Archive(
                "cars_test_annos_withlabels.mat",
                185_758,
                "sha256:790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05",
            ),
        ),
        (
            "cars_train",
            "cars_test",
            "devkit/cars_meta.mat",
            "devkit/cars_train_annos.mat",
            "cars_test_annos_withlabels.mat",
        ),
        "https://github.com/pytorch/vision/issues/7545",  # where people who have copies say so
        "its server has taken the files away",
        ("cars_annos.mat", "car_ims"),  # one list of all images, with their classes, boxes and splits
    ),
    PublicDataSet(
        "pets",
        "Oxford-IIIT Pet",
        "37 breeds of cats and dogs",
        "oxford-iiit-pet",
        (
            # TensorFlow Datasets, datasets/oxford_iiit_pet/checksums.tsv. torchvision (oxford_iiit_pet.py) states the
            # MD5s 5c4f3ee8e5d25df40f4fd59a7f44e54c and 95a8c909bbe2e81eed6a22bccdf3f68f at these addresses.
            Archive(
                "images.tar.gz",
                791_918_971,
                "sha256:67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
                f"{_OXFORD}/pets/data/images.tar.gz",
            ),
            Archive(
                "annotations.tar.gz",
                19_173_078,
                "sha256:52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
                f"{_OXFORD}/pets/data/annotations.tar.gz",
            ),
        ),
        ("images", "annotations/trainval.txt", "annotations/test.txt"),
        f"{_OXFORD}/pets/",
    ),
    PublicDataSet(
        "dogs",
        "Stanford Dogs",
        "120 dog breeds",
        "stanford_dogs",
        (
            # All three: TensorFlow Datasets, url_checksums/stanford_dogs.txt.
            Archive(
                "images.tar",
                793_579_520,
                "sha256:a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58",
                f"{_STANFORD_DOGS}/images.tar",
            ),
            Archive(
                "annotation.tar",
                21_852_160,
                "sha256:662ed36f707be6b195c2fda392d8e153e83af28cedc8e2134a649f198def30fd",
                f"{_STANFORD_DOGS}/annotation.tar",
            ),
            Archive(
                "lists.tar",
                481_280,
                "sha256:34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c",
                f"{_STANFORD_DOGS}/lists.tar",
            ),
        ),
        ("Images", "Annotation", "train_list.mat", "test_list.mat"),
        f"{_STANFORD_DOGS}/",
    ),
    PublicDataSet(
        "flowers",
        "Oxford Flowers-102",
        "102 flower species",
        "flowers-102",
        (
            # All three: TensorFlow Datasets, url_checksums/oxford_flowers102.txt. torchvision (flowers102.py) states
            # the MD5s 52808999861908f626f3c1f4e79d11fa, e0620be6f572b9609742df49c70aed4d and
            # a5357ecc9cb78c4bef273ce3793fc85c at these addresses.
            Archive(
                "102flowers.tgz",
                344_862_509,
                "sha256:2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
                f"{_OXFORD}/flowers/102/102flowers.tgz",
            ),
            Archive(
                "imagelabels.mat",
                502,
                "sha256:4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d",
                f"{_OXFORD}/flowers/102/imagelabels.mat",
            ),
            Archive(
                "setid.mat",
                14_989,
                "sha256:46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd",
                f"{_OXFORD}/flowers/102/setid.mat",
            ),
        ),
        ("jpg", "imagelabels.mat", "setid.mat"),
        f"{_OXFORD}/flowers/102/",
    ),
    PublicDataSet(
        "nabirds",
        "NABirds",
        "555 classes of North American birds",
        "nabirds",
        # Many programs quote one MD5, df21a9e4db349a14e2b08adfd45873bd, all copied from one another; no publisher does.
        (Archive("nabirds.tar.gz"),),
        (*_CUB_LISTS, "hierarchy.txt", "images"),
        "https://dl.allaboutbirds.org/nabirds",
        "its publisher gives it only to those who accept its terms",
    ),
)

DATA_SETS: dict[str, PublicDataSet] = {data_set.name: data_set for data_set in _ALL}
