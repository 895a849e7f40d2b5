"""View options for tests: short forms, and strategies with everything that can be drawn."""

from __future__ import annotations

from hypothesis import strategies as st

from limbeck.recipes.views import AutoAugment, Crop, Erasing, Mixing, RandAugment, ResizedCrop, TrivialAugment, Views


def crop_and_flip(batch_size: int = 128, padding: int = 0, flip: bool = False) -> Views:
    return Views(batch_size=batch_size, crop=Crop(padding=padding) if padding else None, flip=flip)


rich_views = st.builds(
    lambda crops, **others: Views(**crops, **others),
    crops=st.sampled_from([{}, {"crop": Crop(padding=1)}, {"crop": Crop(padding=2)}, {"resized_crop": ResizedCrop()}]),
    batch_size=st.integers(1, 9),
    flip=st.booleans(),
    policy=st.sampled_from([None, AutoAugment(), RandAugment(), TrivialAugment()]),
    erasing=st.sampled_from([None, Erasing(probability=0.5), Erasing(probability=0.9, fill="noise")]),
    mixing=st.sampled_from([None, Mixing(mixup=0.8, cutmix=1.0, probability=0.9)]),
)
