"""Nothing that Limbeck reads can run code: the calls that could are not in the source."""

from __future__ import annotations

import ast
from pathlib import Path

import limbeck

SOURCE = Path(limbeck.__file__).parent
ONE_DOOR = SOURCE / "weights" / "checkpoint_reader.py"
"""The only file that may call `torch.load`: it runs in a limited subprocess."""

BANNED_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__"}
BANNED_METHODS = {"extractall", "extract", "unsafe_load", "full_load"}


def complaints(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        place = f"{path.name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            found += [f"{place} imports {a.name}" for a in node.names if a.name.split(".")[0] in BANNED_MODULES]
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in BANNED_MODULES:
            found.append(f"{place} imports {node.module}")
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in BANNED_CALLS or name.split(".")[-1] in BANNED_METHODS:
                found.append(f"{place} calls {name}")
            if name in ("torch.load", "torch.save", "torch.hub.load") and path != ONE_DOOR:
                found.append(f"{place} calls {name}")
            for keyword in node.keywords:
                true = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                if keyword.arg == "allow_pickle" and true:
                    found.append(f"{place} allows pickle")
    return found


def test_no_call_that_could_run_code() -> None:
    assert [line for path in SOURCE.rglob("*.py") for line in complaints(path)] == []


def test_the_one_door_is_weights_only() -> None:
    calls = [n for n in ast.walk(ast.parse(ONE_DOOR.read_text())) if isinstance(n, ast.Call)]
    loads = [call for call in calls if ast.unparse(call.func) == "torch.load"]
    assert loads
    for call in loads:
        assert {k.arg: ast.unparse(k.value) for k in call.keywords}["weights_only"] == "True"


def test_this_test_sees_what_it_should(tmp_path: Path) -> None:
    for line in ("import pickle", "from joblib import load", "eval(x)", "t.extractall()", "torch.load(p)"):
        (tmp_path / "bad.py").write_text(line)
        assert complaints(tmp_path / "bad.py"), line
