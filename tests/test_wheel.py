"""The wheel, as someone without the repository gets it: installed into a fresh environment, run in an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TORCH_FREE = (
    "numpy",
    "safetensors",
    "pillow",
    "pydantic",
    "ruamel.yaml",
    "typer",
    "rich",
    "platformdirs",
    "matplotlib",
)

pytestmark = pytest.mark.middle


def _run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, with nothing of this environment's Python about it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "LIMBECK"))}
    clean |= {"HOME": str(cwd), "OMP_NUM_THREADS": "2"}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _uv(*words: str | Path, cwd: Path = ROOT) -> None:
    # uv's own cache and settings stay: only what it installs is fresh.
    done = subprocess.run(
        [Path(sys.executable).with_name("uv"), *map(str, words)], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    _uv("build", "--quiet", "--wheel", "--out-dir", out)
    (path,) = out.glob("limbeck-*.whl")
    return path


def _environment(place: Path, python: str, *packages: str | Path) -> Path:
    """A fresh environment with these packages, at the versions of `constraints.txt`; its folder of programs."""
    _uv("venv", "--quiet", "--python", python, place)
    _uv("pip", "install", "--quiet", "--python", place, *_torch(), "-c", ROOT / "constraints.txt", *packages)
    return place / "bin"


def _torch() -> list[str]:
    """Where the CPU build of torch comes from, as in the Makefile: a local folder of wheels, or torch's own index."""
    folder = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
    if folder and any(Path(folder).glob("torch-*.whl")):
        return ["--find-links", folder]
    return ["--torch-backend", "cpu"]


def test_the_wheel_holds_the_package_and_its_recipes_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {name for name in names if name.startswith("limbeck/")}
    source = {
        f"limbeck/{path.relative_to(ROOT / 'src/limbeck')}"
        for path in (ROOT / "src/limbeck").rglob("*")
        if path.suffix in (".py", ".yaml", ".typed", ".html", ".css", ".js", ".mjs", ".wasm")
    }
    assert package == source
    assert all(name.split("/")[0].endswith(".dist-info") for name in names - package)


def test_outside_the_repository_the_quickstart_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    programs = _environment(tmp_path / "env", sys.executable, f"limbeck[digits] @ {wheel.as_uri()}")
    place = tmp_path / "elsewhere"
    place.mkdir()
    assert _run(programs / "python", "-c", "import limbeck; print(limbeck.__file__)", cwd=place).startswith(
        str(tmp_path / "env")
    )
    _run(programs / "limbeck", "run", "quickstart", "seeds=[0]", cwd=place)
    result = json.loads((place / "runs/quickstart/result.json").read_text(encoding="utf-8"))
    assert {arm["role"] for arm in result["arms"]} == {"teacher", "student"}
    assert (place / "runs/quickstart/report.md").exists()
    (model, *_) = sorted((place / "runs/quickstart/models").iterdir())
    assert "top-1" in _run(programs / "limbeck", "evaluate", model, "digits", cwd=place)


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_python_that_is_promised_installs_it_and_answers_without_torch(
    wheel: Path, tmp_path: Path, version: str
) -> None:
    python = _python(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    programs = _environment(tmp_path / "env", python, *TORCH_FREE)
    _uv("pip", "install", "--quiet", "--no-deps", "--python", tmp_path / "env", wheel)
    assert _run(programs / "limbeck", "--version", cwd=tmp_path).strip()
    assert "quickstart" in _run(programs / "limbeck", "list", "recipes", cwd=tmp_path)
    assert json.loads(_run(programs / "limbeck", "schema", cwd=tmp_path))["properties"]
    assert "soft_targets" in _run(programs / "limbeck", "list", "losses", cwd=tmp_path)


def _python(version: str) -> str | None:
    found = shutil.which(f"python{version}")
    if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
        return found
    places = sorted((Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions").glob(f"{version}.*"))
    return str(places[-1] / "bin/python") if places else None
