"""Recipes from a fuzzer: a valid plan or one clear error, and nothing that a recipe says is ever run."""

from __future__ import annotations

import copy
import importlib
import json
import os
import pkgutil
import random
import sys
from pathlib import Path
from typing import Any

from processes import in_a_process
from rows import Trials

NAME = "recipes"
HOLDS = "recipes from a fuzzer, attacks among them: a valid plan or clear errors with their line, no code run"
CI, CHAOS = 2_000, 100_000
EACH = 100
ATTACKS = (
    "!!python/object/apply:os.system ['touch {canary}']",
    "!!python/object/new:subprocess.Popen [['touch', '{canary}']]",
    "!!python/name:os.system",
    "!!python/module:{canary}",
    "__import__('os').system('touch {canary}')",
    "os:system",
    "os.system",
    "limbeck.cli:main",
    "../../{canary}.py",
    "{canary}.py:build",
    "${{jndi:touch {canary}}}",
    "$(touch {canary})",
    "`touch {canary}`",
    "torch.hub:load",
    "timm:../{canary}",
    "torchvision:__loader__",
    "__class__",
    "folder:|touch {canary}",
    "pickle:{canary}.pkl",
    "&a [*a, *a]",
    "{{a: &a [x, x], b: &b [*a, *a], c: [*b, *b, *b]}}",
)
RUNS_CODE = {
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "os.spawn", "subprocess.Popen", "pty.spawn",
    "ctypes.dlopen", "pickle.find_class", "socket.connect", "os.remove", "os.rename", "os.mkdir",
}  # fmt: skip


def prepare(place: Path) -> Trials:
    """Recipes that ship, to spoil."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
    import test_recipe_space  # noqa: F401

    import limbeck

    for module in pkgutil.walk_packages(limbeck.__path__, "limbeck."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)  # an import would run code, and write what it compiled

    def trial(number: int, chance: random.Random) -> str:
        found = in_a_process(lambda: _fuzzed(number, place), seconds=300.0)
        assert not found["wrong"], found["wrong"]
        return f"{found['valid']} valid, {found['refused']} refused"

    return Trials(trial, ci=CI, chaos=CHAOS, each=EACH)


def _fuzzed(number: int, place: Path) -> dict[str, Any]:
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis import strategies as st
    from test_recipe_space import odd, places, recipes, spoilt_texts

    canary = place / "canary"
    os.chdir(place)
    path = place / "spoilt.yaml"
    watch = _Watch()
    counts = {"valid": 0, "refused": 0}
    attacks = st.sampled_from(ATTACKS).map(lambda text: text.format(canary=canary))

    @st.composite
    def attacked(draw: st.DrawFn) -> bytes:
        lines = draw(spoilt_texts()).decode("utf-8", "replace").splitlines(keepends=True) or ["\n"]
        for _ in range(draw(st.integers(1, 3))):
            at = draw(st.integers(0, len(lines) - 1))
            head, colon, _ = lines[at].partition(":")
            lines[at] = f"{head}{colon} {draw(attacks)}\n"
        return "".join(lines).encode()

    @st.composite
    def trees(draw: st.DrawFn) -> bytes:
        tree = copy.deepcopy(draw(recipes()))
        for _ in range(draw(st.integers(0, 3))):
            every = places(tree)
            if not every:
                break
            *above, last = draw(st.sampled_from(every))
            holder = tree
            for key in above:
                holder = holder[key]
            holder[last] = draw(odd | attacks)
        return json.dumps(tree, default=str).encode("utf-8", "surrogatepass")

    @seed(number)
    @settings(
        max_examples=EACH, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(spoilt_texts() | attacked() | trees() | st.binary(max_size=300))
    def every(content: bytes) -> None:
        path.write_bytes(content)
        counts[watch.load(path)] += 1
        assert not canary.exists(), f"code was run by {content!r}"

    try:
        every()
    except AssertionError as error:
        return {"wrong": str(error)[:2000], **counts}
    return {"wrong": "", **counts}


class _Watch:
    """Loads a recipe and plans it, and listens to what Python does meanwhile."""

    def __init__(self) -> None:
        self.listening = False
        self.heard: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.listening:
            return
        if event in RUNS_CODE:
            self.heard.append(f"{event} {arguments!r}"[:300])
        if event == "exec" and not _ours(getattr(arguments[0], "co_filename", "")):
            self.heard.append(f"exec of {arguments[0]!r}"[:300])
        if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
            self.heard.append(f"opened to write: {arguments[0]!r}"[:300])

    def load(self, path: Path) -> str:
        """`valid` or `refused`; an AssertionError for anything else."""
        from limbeck.errors import RecipeError
        from limbeck.experiment.plan import make_plan
        from limbeck.recipes.load import load_recipe

        self.listening = True
        try:
            recipe = load_recipe(path)
            plan = make_plan(recipe)
        except RecipeError as error:
            said = str(error).split("\n")
            clear = all(line.startswith(f"{path}:") and line.isprintable() and len(line) < 2000 for line in said)
            assert clear and len(set(said)) == len(said), f"not clear: {said[:3]}"
            return "refused"
        finally:
            self.listening = False
            assert not self.heard, f"{path.read_bytes()!r} led to {self.heard}"
        assert plan.cohorts, "a plan with nothing to do"
        assert load_recipe(recipe.to_dict()) == recipe
        return "valid"


def _ours(filename: str) -> bool:
    """Whether code comes from what is installed, and so was not in a recipe."""
    import limbeck

    roots = (str(Path(limbeck.__file__).parent), sys.prefix, sys.base_prefix, "<frozen ")
    return filename.startswith(roots)
