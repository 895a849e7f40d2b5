"""What a batch that holds more images than there are comes to."""

from __future__ import annotations

from collections.abc import Iterable

from limbeck.recipes.views import Views


def batches_larger_than_data(of_arms: Iterable[Views], images: int) -> list[str]:
    """A line for each size of batch that is larger than the training images: an epoch is then one smaller batch."""
    sizes = sorted({views.batch_size for views in of_arms if views.batch_size > images})
    return [
        f"views.batch_size: a batch of {size:,} is larger than the {images:,} training images: "
        f"each epoch is one step with a batch of {images:,}"
        for size in sizes
    ]
