"""Curves of three arms over three seeds."""

from __future__ import annotations

from typing import Any

import pytest
from real_run import real_run
from sample_results import BASELINE, DISTILLED, TEACHER, curve

from limbeck.experiment.run import Run


@pytest.fixture
def curves() -> dict[tuple[str, int], list[dict[str, Any]]]:
    finals = {"resnet": TEACHER, "baseline": BASELINE, "distilled": DISTILLED}
    return {
        (arm, s): curve(final + 0.012 * s, 0.3 + 0.03 * s)
        for arm, all_ in finals.items()
        for s, final in enumerate(all_)
    }


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return real_run(tmp_path_factory.mktemp("real"))
