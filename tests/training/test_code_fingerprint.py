"""A folder of `distill(save_to=…)` outlives the moves of Limbeck's own classes."""

from __future__ import annotations

import limbeck
from limbeck.api.models import AsModule
from limbeck.building.saved_model import LoadedModel
from limbeck.building.teachers import Reordered
from limbeck.training.code_fingerprint import _told


def test_own_classes_keep_the_names_under_which_they_were_first_written() -> None:
    assert _told(AsModule, {}) == "class limbeck.experiment.given_models.AsModule"
    assert _told(LoadedModel, {}) == "class limbeck.experiment.saved_model.LoadedModel"
    assert _told(Reordered, {}) == "class limbeck.experiment.assemble.Reordered"
    assert _told(limbeck.load, {}) == "limbeck.experiment.saved_model.load"
