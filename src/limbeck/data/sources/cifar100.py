"""CIFAR-100, from the official binary archive."""

from __future__ import annotations

from limbeck.types import Dataset, Normalisation

from .cifar_archive import Archive, dataset

ARCHIVE = Archive(
    name="cifar100",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    folder="cifar-100-binary",
    train=("train.bin",),
    test=("test.bin",),
    names="fine_label_names.txt",
    classes=100,
    label_bytes=2,  # the coarse label, then the fine one
    records={"train": 50_000, "test": 10_000},
    normalisation=Normalisation((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
)


def build(*, path: str | None = None) -> Dataset:
    """CIFAR-100: 60,000 photos, 32 x 32, 100 fine classes; downloaded once, or read from `path`.

    path: `cifar-100-binary.tar.gz` or its extracted folder; by default the archive in `$LIMBECK_DATA`, which is
    downloaded if it is missing.
    50,000 training and 10,000 test images, in the archive's order. Mean and standard deviation are the usual ones.
    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    Raises LimbeckError if the archive cannot be obtained or is not the official one.
    """
    return dataset(ARCHIVE, path)
