"""View recipes with everything that can be drawn, for properties."""

from __future__ import annotations

from hypothesis import strategies as st

from limbeck.views.erasing import Erasing
from limbeck.views.mixing import Mixing
from limbeck.views.plan import ViewRecipe
from limbeck.views.policies import AutoAugment, RandAugment, TrivialAugment
from limbeck.views.resized_crop import ResizedCrop

rich_recipes = st.builds(
    ViewRecipe,
    batch_size=st.integers(1, 9),
    padding=st.integers(0, 2),
    flip=st.booleans(),
    resized_crop=st.sampled_from([None, ResizedCrop()]),
    policy=st.sampled_from([None, AutoAugment(), RandAugment(), TrivialAugment()]),
    erasing=st.sampled_from([None, Erasing(probability=0.5), Erasing(probability=0.9, fill="noise")]),
    mixing=st.sampled_from([None, Mixing(mixup=0.8, cutmix=1.0, probability=0.9)]),
)
