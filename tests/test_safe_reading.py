"""No reader of the project runs code from a file: what could is listed here, with the reason why it does not."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# What loads objects, by the dotted end of a call's or an import's name.
UNSAFE = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle",
    "read_pickle", "read_hdf", "HDFStore", "open_file", "unsafe_load", "full_load", "eval", "exec",
}  # fmt: skip
# Safe only if they are told so: the call, and what must be given.
NEEDS = {
    "np.load": ("allow_pickle", "False"),
    "numpy.load": ("allow_pickle", "False"),
    "torch.load": ("weights_only", "True"),
}
REASONS = {
    (
        "lightning_kp/behaviour/safe_pickle.py",
        "pickle",
    ): "its Unpickler knows NumPy's arrays and no other name",
    ("lightning_kp/checkpoints.py", "pickle"): "names the error that torch raises for a refused object",
}
FOLDERS = ("lightning_kp", "methods", "datamodules", "callbacks")


def findings(source: str) -> Iterator[str]:
    """Names in a module that load objects from files."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in UNSAFE)
        elif isinstance(node, ast.ImportFrom):
            yield from (name for name in (str(node.module), *(a.name for a in node.names)) if name in UNSAFE)
        elif isinstance(node, ast.Call):
            yield from findings_in_call(node)


def findings_in_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    own_method = isinstance(node.func, ast.Attribute) and node.func.attr in ("eval", "exec")  # network.eval()
    if name.rpartition(".")[2] in UNSAFE and not own_method:
        yield name
    if name in NEEDS and given.get(NEEDS[name][0]) != NEEDS[name][1]:
        yield name
    if given.get("allow_pickle", "False") != "False" or given.get("weights_only", "True") != "True":
        yield name
    if name in ("yaml.load", "yaml.load_all"):
        yield name


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import pandas as pd\npd.read_hdf(path)", "np.load(path)",
        "np.load(path, allow_pickle=True)", "numpy.load(path)", "load(path, allow_pickle=flag)", "torch.load(path)",
        "torch.load(path, weights_only=False)", "yaml.load(text, Loader=yaml.Loader)", "yaml.unsafe_load(text)",
        "eval(text)", "def f():\n  import joblib", "tables.open_file(path)", "Trainer(weights_only=False)",
    ],
)  # fmt: skip
def test_the_walk_finds(source: str) -> None:
    assert list(findings(source))


@pytest.mark.parametrize(
    "source",
    [
        "np.load(path, allow_pickle=False)", "torch.load(path, weights_only=True)", "yaml.safe_load(text)",
        "network.eval()", "json.load(file)", "h5py.File(path)", "import pickletools", "np.load",
    ],
)  # fmt: skip
def test_the_walk_lets_pass(source: str) -> None:
    assert not list(findings(source))


def test_no_reader_loads_objects(root: Path) -> None:
    found = {
        (path.relative_to(root).as_posix(), name)
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*.py"))
        for name in findings(path.read_text("utf-8"))
    }
    assert found == REASONS.keys()
