"""The `[data]` table of an experiment: one model per data set, told apart by the key `name`.

For example::

    [data]
    name = "fashion-mnist"
    mean = [0.2860]
    std = [0.3530]
"""

from math import prod
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

VALUES_LIMIT = 2**31
"""Most values that the features of one data set may hold: 8 GiB once they are float32."""

PATTERN_VALUES_LIMIT = 2**26
"""Most values that the class patterns of the generated images may hold: 256 MiB, they stay in memory."""

# TOML has lists; strict models would insist on tuples from Python, hence strict=False on the containers alone.
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Noise = Annotated[float, Field(ge=0, le=1000)]
Coefficient = Annotated[float, Field(ge=-1e6, le=1e6)]
Coefficients = Annotated[tuple[Coefficient, ...], Field(strict=False, min_length=1, max_length=100)]
Means = Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(strict=False)]
Deviations = Annotated[tuple[Annotated[float, Field(ge=1e-6, le=1)], ...], Field(strict=False)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Side = Annotated[int, Field(ge=1, le=1024)]
Shape = Annotated[tuple[Annotated[int, Field(ge=1, le=64)], Side, Side], Field(strict=False)]
Size = Annotated[tuple[Side, Side], Field(strict=False)]


class Data(BaseModel):
    """What all data sets have in common."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @property
    def is_regression(self) -> bool:
        """Whether the labels are regression targets rather than classes."""
        return False

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of the features of one sample: (channels, height, width) or (features,)."""
        raise NotImplementedError

    @property
    def outputs(self) -> int | None:
        """Number of classes or regression targets; None if only the files can tell."""
        return 10


class LinearRegression(Data):
    """Generated samples of a line: `features . weights + bias + noise`, features drawn from N(0, 1)."""

    name: Literal["linear-regression"]
    weights: Coefficients = (2.0, -3.4)
    """The weights to be found again, one per feature."""
    bias: Coefficient = 4.2
    """The bias to be found again."""
    noise: Noise = 0.01
    """Standard deviation of the normal noise on the targets."""
    samples: int = Field(default=1000, ge=1, le=1_000_000)
    """Number of training samples, the validation share included."""
    test_samples: int = Field(default=200, ge=1, le=1_000_000)
    """Number of test samples."""
    seed: Seed = 0
    """Seed of the features and the noise."""

    @property
    def is_regression(self) -> bool:
        """The targets are real numbers."""
        return True

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """One feature per weight."""
        return (len(self.weights),)

    @property
    def outputs(self) -> int:
        """One target."""
        return 1


class ImageData(Data):
    """What all sets of images have in common: an image is fed as `(pixel / white - mean) / std`, per channel."""

    white: ClassVar[int] = 255
    """Value of the brightest pixel in the source."""

    mean: Means | None = None
    """Subtracted from the pixels, once they are scaled to 0..1: one number per channel. Nothing by default."""
    std: Deviations | None = None
    """Divides the pixels after the mean is subtracted: one number per channel. Nothing by default."""

    @property
    def channels(self) -> int:
        """Number of channels of every image."""
        return self.sample_shape[0]

    @model_validator(mode="after")
    def _normalisation_has_a_number_per_channel(self) -> Self:
        for key, numbers in (("mean", self.mean), ("std", self.std)):
            if numbers is not None and len(numbers) != self.channels:
                raise ValueError(f"{key} needs one number per channel ({self.channels}), it has {len(numbers)}")
        return self


class StoredImages(ImageData):
    """What the sets that are read from files have in common: a trial can do with a part of them."""

    samples: Count | None = None
    """Use so many training images, the validation share included: a fixed random choice. All by default."""
    test_samples: Count | None = None
    """Use so many test images, a fixed random choice. All by default."""


class Digits(StoredImages):
    """The real handwritten digits that come with scikit-learn, 1797 of 1x8x8; a fifth of them is the test set."""

    white: ClassVar[int] = 16

    name: Literal["digits"]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Channels, height and width of an image."""
        return (1, 8, 8)


class GeneratedImages(ImageData):
    """Generated images that can be learnt: one smooth random pattern per class, plus noise. Classes are balanced."""

    name: Literal["generated-images"]
    shape: Shape
    """Channels, height and width of an image."""
    classes: int = Field(default=10, ge=2, le=1000)
    """Number of classes."""
    samples: int = Field(default=10_000, ge=1, le=10_000_000)
    """Number of training images, the validation share included."""
    test_samples: int = Field(default=2000, ge=1, le=10_000_000)
    """Number of test images."""
    noise: Noise = 0.2
    """Standard deviation of the normal noise on each pixel, where the range of a pixel is 0 to 1."""
    seed: Seed = 0
    """Seed of the patterns and the noise."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        values = prod(self.shape)
        if (self.samples + self.test_samples) * values > VALUES_LIMIT:
            raise ValueError(f"(samples + test_samples) * {values} values of one image exceeds {VALUES_LIMIT}")
        if self.classes * values > PATTERN_VALUES_LIMIT:
            raise ValueError(f"classes * {values} values of one image exceeds {PATTERN_VALUES_LIMIT}")
        return self

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Channels, height and width of an image."""
        return self.shape

    @property
    def outputs(self) -> int | None:
        """Number of classes."""
        return self.classes


class Mnist(StoredImages):
    """MNIST, handwritten digits, 60 000 + 10 000 of 1x28x28, through torchvision."""

    name: Literal["mnist"]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Channels, height and width of an image."""
        return (1, 28, 28)


class FashionMnist(StoredImages):
    """Fashion-MNIST, pieces of clothing, 60 000 + 10 000 of 1x28x28, through torchvision."""

    name: Literal["fashion-mnist"]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Channels, height and width of an image."""
        return (1, 28, 28)


class Cifar10(StoredImages):
    """CIFAR-10, small photographs, 50 000 + 10 000 of 3x32x32, through torchvision."""

    name: Literal["cifar10"]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Channels, height and width of an image."""
        return (3, 32, 32)


class PictureFolder(StoredImages):
    """A folder of class folders of pictures.

    Either `train/CLASS/*` and `test/CLASS/*`, or just `CLASS/*`: a fixed fifth of each class is then the test set.
    `valid/CLASS/*`, where it is there beside the former, is the validation set.
    """

    name: Literal["picture-folder"]
    path: Path = Field(strict=False)
    """The folder. A relative path starts at $LOCKSTEP_DATA if that is set."""
    size: Size
    """Height and width that every picture is resized to."""
    greyscale: bool = False
    """One grey channel instead of red, green and blue."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Channels, height and width of an image."""
        return (1 if self.greyscale else 3, *self.size)

    @property
    def outputs(self) -> int | None:
        """Number of classes, which only the folder can tell."""
        return None


TorchvisionData = Mnist | FashionMnist | Cifar10

DataSpec = Annotated[
    Digits | LinearRegression | GeneratedImages | Mnist | FashionMnist | Cifar10 | PictureFolder,
    Field(discriminator="name"),
]
"""Any data set; for a field of another pydantic model, or for `pydantic.TypeAdapter`."""

DATA_NAMES = ("digits", "linear-regression", "generated-images", "mnist", "fashion-mnist", "cifar10", "picture-folder")
