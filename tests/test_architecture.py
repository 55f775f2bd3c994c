"""The shape of the house, read from the syntax tree: who may import whom, what lies where."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = ("methods", "datamodules", "callbacks")
PACKAGE = "lightning_kp"
# These put the parts together, so they may know the plug-ins; nobody may import them.
COMPOSITION_ROOTS = (
    "cli",
    "verbs",
    "bench",
    "command",
    "studies",
    "__main__",
)
# Finds plug-ins by name; beside the roots only one may ask it: who builds the class that a file names.
REGISTRY = "plugins"
READS_REGISTRY = ("checkpoints",)
BELOW_NETWORKS = ("geometry", "keypoints", "heatmaps")
HEAVY = (
    "torch", "lightning", "torchvision", "torchmetrics", "kornia", "pandas", "matplotlib", "sleap_io", "av",
    "h5py", "tables", "wandb", "timm",
)  # fmt: skip


# ---------------------------------------------------------------- the checker


def imports_of(tree: ast.Module) -> Iterator[str]:
    """Every dotted name that a module imports, at any depth: ``from a import b`` gives ``a`` and ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are banned by ruff (TID252)"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "import_module",
            "importlib.import_module",
        ):
            yield from dynamic_names(node.args[0])


def dynamic_names(argument: ast.expr) -> Iterator[str]:
    """What ``import_module(argument)`` may import; f"lightning_kp.{x}" may be any plug-in folder."""
    if isinstance(argument, ast.Constant):
        yield str(argument.value)
    elif isinstance(argument, ast.JoinedStr) and ast.unparse(argument.values[0]).strip("'") == f"{PACKAGE}.":
        yield from core(*PLUGINS)


def is_within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def core(*parts: str) -> tuple[str, ...]:
    return tuple(f"{PACKAGE}.{part}" for part in parts)


def forbidden_to(module: str) -> tuple[str, ...]:
    """What ``module`` (lightning_kp.x.y) must not import, itself excepted."""
    part = module.split(".")[1] if "." in module else ""
    if part in (*COMPOSITION_ROOTS, REGISTRY):
        return ()
    banned = core(*COMPOSITION_ROOTS, *PLUGINS)
    if part not in READS_REGISTRY:
        banned += core(REGISTRY)
    if part in BELOW_NETWORKS:
        banned += core("nn", "losses", "method", "datamodule")
    if part == "nn":
        banned += core("losses", "method", "datamodule")
    if part == "losses":
        banned += (*core("nn", "method", "datamodule", "video"), "lightning", "pytorch_lightning")
        banned += ("torchvision.models", "torch.utils.data", "timm")
    return banned


def subclassed_names(tree: ast.Module) -> set[str]:
    bases = (base for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases)
    return {ast.unparse(base) for base in bases}


def imported_to_subclass(module: str, tree: ast.Module) -> set[str]:
    """Imports that a plug-in may make from its own folder: classes that it subclasses.

    The folder's ``__init__`` exports what its modules define.
    """
    folder = ".".join(module.split(".")[:2])
    bases = subclassed_names(tree)
    allowed = {folder} if module == folder else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and is_within(str(node.module), folder):
            names = [alias.name for alias in node.names]
            if module == folder or all((alias.asname or alias.name) in bases for alias in node.names):
                allowed |= {str(node.module), *(f"{node.module}.{name}" for name in names)}
    return allowed


def violations(module: str, source: str) -> list[str]:
    """The imports of ``module`` that point the wrong way."""
    tree = ast.parse(source)
    is_plugin = is_within(module, *core(*PLUGINS))
    allowed = imported_to_subclass(module, tree) if is_plugin else set()
    banned = forbidden_to(module)
    return sorted({name for name in imports_of(tree) if is_within(name, *banned)} - allowed)


def source_files(root: Path) -> Iterator[tuple[str, Path]]:
    """(dotted module name, file) of everything that is installed."""
    folders = {PACKAGE: root / PACKAGE} | {f"{PACKAGE}.{plugin}": root / plugin for plugin in PLUGINS}
    for package, folder in folders.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")]), path


# ---------------------------------------------------------------- the checker is right

WRONG_WAY = {
    "core imports a method": ("lightning_kp.video.reader", "import lightning_kp.methods.bkind"),
    "core imports the folder": ("lightning_kp.video.reader", "from lightning_kp import methods"),
    "also inside a function": (
        "lightning_kp.nn.x",
        "def f():\n  from lightning_kp.callbacks import x",
    ),
    "also by string": (
        "lightning_kp.tracks.table",
        "importlib.import_module('lightning_kp.methods')",
    ),
    "also by a string in parts": ("lightning_kp.tracks.table", "import_module(f'lightning_kp.{folder}')"),
    "core imports the command": ("lightning_kp.tracks.table", "from lightning_kp.cli import main"),
    "method asks the registry": ("lightning_kp.methods.x", "from lightning_kp import plugins"),
    "plug-in imports a verb": ("lightning_kp.callbacks.x", "from lightning_kp.verbs import track"),
    "method imports a datamodule": ("lightning_kp.methods.x", "from lightning_kp.datamodules.y import Y"),
    "... even to subclass it": (
        "lightning_kp.methods.x",
        "from lightning_kp.datamodules.y import Y\nclass X(Y): ...",
    ),
    "method borrows from a method": ("lightning_kp.methods.x", "from lightning_kp.methods.y import helper"),
    "... beside what it subclasses": (
        "lightning_kp.methods.x",
        "from lightning_kp.methods.y import Y, helper\nclass X(Y): ...",
    ),
    "geometry imports a loss": ("lightning_kp.geometry", "from lightning_kp.losses.rotation import r"),
    "network imports a loss": ("lightning_kp.nn.encoders", "from lightning_kp.losses import rotation"),
    "loss imports a network": ("lightning_kp.losses.x", "from lightning_kp.nn.encoders import encoder"),
    "loss imports Lightning": ("lightning_kp.losses.x", "import lightning as L"),
    "loss imports data": ("lightning_kp.losses.x", "from torch.utils.data import DataLoader"),
}

RIGHT_WAY = {
    "method subclasses a method": (
        "lightning_kp.methods.x",
        "from lightning_kp.methods.y import Y, W\nclass X(Y): ...\nclass V(W): ...",
    ),
    "method imports the core": ("lightning_kp.methods.x", "from lightning_kp.method import KeypointMethod"),
    "folder exports its modules": ("lightning_kp.methods", "from lightning_kp.methods.x import X"),
    "the command knows all": ("lightning_kp.cli", "import lightning_kp.methods, lightning_kp.datamodules"),
    "a file's class is looked up": ("lightning_kp.checkpoints", "from lightning_kp import plugins"),
    "a verb knows all": ("lightning_kp.verbs.demo", "from lightning_kp.datamodules import SyntheticArena"),
    "loss imports heatmaps": ("lightning_kp.losses.x", "from lightning_kp.heatmaps import render_gaussians"),
    "a name that only begins alike": ("lightning_kp.video.reader", "import lightning_kp.methods_of_speech"),
}


@pytest.mark.parametrize("case", WRONG_WAY)
def test_checker_finds(case: str) -> None:
    assert violations(*WRONG_WAY[case])


@pytest.mark.parametrize("case", RIGHT_WAY)
def test_checker_lets_pass(case: str) -> None:
    assert violations(*RIGHT_WAY[case]) == []


# ---------------------------------------------------------------- the house is right


def test_imports_point_from_plugin_to_core(root: Path) -> None:
    files = dict(source_files(root))
    assert {PACKAGE, f"{PACKAGE}.geometry", f"{PACKAGE}.methods"} <= files.keys()
    found = {module: violations(module, path.read_text("utf-8")) for module, path in files.items()}
    assert {module: names for module, names in found.items() if names} == {}


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugin_folder_refuses_its_bare_name(root: Path, plugin: str) -> None:
    code = f"import sys; sys.path.insert(0, ''); import {plugin}"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 1
    assert f"ImportError: Import lightning_kp.{plugin}, not {plugin}." in run.stderr


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugin_folder_is_flat(root: Path, plugin: str) -> None:
    nested = [path for path in (root / plugin).rglob("*.py") if path.parent != root / plugin]
    assert nested == []


def test_module_names_are_lower_case_words(root: Path) -> None:
    odd = [path.name for _, path in source_files(root) if not re.fullmatch(r"[a-z0-9_]+\.py", path.name)]
    assert odd == []


def test_experiments_hold_no_python(root: Path) -> None:
    assert list((root / "experiments").rglob("*.py")) == []


# A path that only one computer has: a home, a scratch or a work folder. `~/`, `./` and URLs are not meant.
BEFORE = r"(?<![\w.~:/-])"
MACHINE_PATH = re.compile(BEFORE + r"/(?:work|root|home|Users|tmp|opt)/\w|\b[A-Z]:\\Users\b")
BESIDE_THE_CLONE = "../" + "shared"


def tracked_texts(root: Path) -> Iterator[tuple[str, str]]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listing.stdout.split("\0")):
        content = (root / name).read_bytes() if (root / name).is_file() else b""
        if b"\0" not in content[:8192]:
            yield name, content.decode("utf-8", errors="replace")


def test_machine_path_pattern() -> None:
    for text in ("see /" + "work/data", '"/' + 'home/me/x"', "=/" + "tmp/x", "C:" + "\\Users\\me"):
        assert MACHINE_PATH.search(text), text
    for text in (
        "https://example.org/opt/x",
        "~/opt/x",
        "a/home/x",
        "runs/tmp/x",
        "either/or /opt or home",
    ):
        assert not MACHINE_PATH.search(text), text


def test_no_machine_path_in_tracked_files(root: Path) -> None:
    pattern = re.compile(f"{MACHINE_PATH.pattern}|{BEFORE}{re.escape(str(root.parent))}/")
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in tracked_texts(root)
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]
    assert found == []


def test_only_the_ci_script_looks_beside_the_clone(root: Path) -> None:
    assert [name for name, text in tracked_texts(root) if BESIDE_THE_CLONE in text] == [".ci/run"]


def test_help_imports_nothing_heavy(root: Path) -> None:
    if not (root / PACKAGE / "cli.py").is_file():
        pytest.skip("cli.py is not written yet")
    code = f"""
import sys
from {PACKAGE}.cli import main
sys.argv = ["kp", "--help"]
try:
    main()
except SystemExit as stop:
    assert stop.code in (0, None), stop.code
print("LOADED", sorted(set({HEAVY!r}) & sys.modules.keys()))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "LOADED []"
    assert "usage" in run.stdout.lower()
