"""The shape of the package, read from the syntax tree: who may import whom, and what lies where."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_kp import cli

PLUGINS = ("methods", "datamodules", "callbacks")
PACKAGE = "lightning_kp"
# The one truth about layers: a part imports itself and lower rows, never its own row's other parts.
# CONTRIBUTING.md shows the same rows as a picture.
ROWS = (
    ("errors",),
    ("files", "geometry", "keypoints", "skeleton", "batches", "deeplabcut"),
    ("heatmaps", "warps"),
    ("images", "nn", "losses", "readout", "metrics"),
    ("tasks",),
    ("schedules", "loading", "contract", "runs"),
    ("method", "datamodule"),
    ("plugins", "onnx_export"),
    ("checkpoints",),
    ("video", "arena"),
    ("motion",),
    ("frames",),
    ("tracks", "labels", "stills"),
    ("behaviour", "people", "smoothing", "confidence"),
    ("scoring", "inspection", "diagnosis", "reports", "sweeps"),
    PLUGINS,
    ("command",),
    ("api",),
    ("verbs", "studies", "bench"),
    ("cli",),
    ("__main__",),
)
ROW = {part: number for number, row in enumerate(ROWS) for part in row}
# Plug-ins stand high, so that nothing below imports them, and reach only so far down from there.
HIGHEST_FOR = {"methods": "checkpoints", "datamodules": "people", "callbacks": "reports"}
# Names classes by a string, which is how the plug-in folders are found; nothing else may.
FINDS_PLUGINS = "plugins"
# Without a framework: mathematics that a reader may take away.
NO_LIGHTNING = ("metrics", "losses", "readout", "nn", "images", "tasks")
FOREIGN = {
    **dict.fromkeys(NO_LIGHTNING, ("lightning", "pytorch_lightning")),
    "losses": ("lightning", "pytorch_lightning", "torchvision.models", "torch.utils.data", "timm"),
    "arena": ("torch",),
}
TOP_MODULES = {
    part for row in ROWS for part in row if part not in PLUGINS
} - {
    "deeplabcut",
    "images", "nn", "losses", "readout", "metrics", "tasks", "runs", "video", "arena", "motion", "frames", "tracks",
    "labels", "stills", "behaviour", "people", "smoothing", "confidence", "scoring", "inspection", "diagnosis",
    "reports", "sweeps",
    "command", "api", "verbs", "studies", "bench",
}  # fmt: skip
MODULES_PER_PACKAGE = (3, 14)
OTHER_SIZES: dict[str, str] = {
    "verbs": "as many modules as there are words",
    "studies": "as many modules as there are comparisons in the docs",
}
LINES_PER_MODULE = 300
LONGER: dict[str, str] = {
    "lightning_kp.methods.person_parser": "one method: two decoders, export and two sets of metrics share state",
}
HEAVY = (
    "torch", "lightning", "torchvision", "torchmetrics", "kornia", "pandas", "matplotlib", "sleap_io", "av",
    "h5py", "tables", "wandb", "timm",
)  # fmt: skip


# ---------------------------------------------------------------- the checker


def nodes_at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those below ``if TYPE_CHECKING:``."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from nodes_at_run_time(other)
            continue
        yield child
        yield from nodes_at_run_time(child)


def imports_of(tree: ast.Module) -> Iterator[str]:
    """Every dotted name that a module imports, at any depth: ``from a import b`` gives ``a`` and ``a.b``."""
    for node in nodes_at_run_time(tree):
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
    elif isinstance(argument, ast.JoinedStr):
        start = ast.unparse(argument.values[0]).strip("'")
        yield from core(*PLUGINS) if start == f"{PACKAGE}." else [start.rstrip(".")]


def is_within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def core(*parts: str) -> tuple[str, ...]:
    return tuple(f"{PACKAGE}.{part}" for part in parts)


def part_of(name: str) -> str | None:
    """The row's entry that a dotted name belongs to; None for the package itself and for other packages."""
    words = name.split(".")
    return words[1] if words[0] == PACKAGE and len(words) > 1 and words[1] in ROW else None


def may_import(part: str, other: str) -> bool:
    if part in HIGHEST_FOR:
        return ROW[other] <= ROW[HIGHEST_FOR[part]]
    return ROW[other] < ROW[part]


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
    """The imports of ``module`` that break the rows."""
    tree = ast.parse(source)
    part = part_of(module)
    names = set(imports_of(tree))
    if part is None:  # lightning_kp itself, of which test_notebook checks that it imports nothing heavy
        return []
    if part in PLUGINS:
        names -= imported_to_subclass(module, tree)
        own = {name for name in names if is_within(name, f"{PACKAGE}.{part}")}
    else:
        own = set()
    foreign = {name for name in names if is_within(name, *FOREIGN.get(part, ()))}
    if part == FINDS_PLUGINS:
        names -= set(core(*PLUGINS))
    others = {name: part_of(name) for name in names}
    wrong = {
        name for name, other in others.items() if other and other != part and not may_import(part, other)
    }
    return sorted(wrong | own | foreign)


def source_files(root: Path) -> Iterator[tuple[str, Path]]:
    """(dotted module name, file) of everything that is installed."""
    folders = {PACKAGE: root / PACKAGE} | {f"{PACKAGE}.{plugin}": root / plugin for plugin in PLUGINS}
    for package, folder in folders.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")]), path


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, directly or through others, as paths from a module back to itself."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in done:
            for other in sorted(edges.get(module, ())):
                visit(other, [*path, module])
            done.add(module)

    for module in sorted(edges):
        visit(module, [])
    return found


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
    "a lower row imports a higher one": (
        "lightning_kp.video.reader",
        "from lightning_kp.frames.cache import x",
    ),
    "neighbours in a row": ("lightning_kp.scoring.x", "from lightning_kp.reports.page import x"),
    "the arena imports torch": ("lightning_kp.arena.body", "import torch"),
    "the command imports a verb": ("lightning_kp.command.x", "from lightning_kp.verbs import track"),
    "the Python door imports a verb": ("lightning_kp.api.x", "from lightning_kp.verbs import track"),
    "method imports the frame cache": ("lightning_kp.methods.x", "from lightning_kp.frames import cache"),
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
    "metric imports Lightning": ("lightning_kp.metrics.x", "from lightning.pytorch import Trainer"),
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
    "plug-ins are found by name": ("lightning_kp.plugins", "import_module(f'lightning_kp.{folder}')"),
    "a verb knows all": ("lightning_kp.verbs.demo", "from lightning_kp.datamodules import SyntheticArena"),
    "loss imports heatmaps": ("lightning_kp.losses.x", "from lightning_kp.heatmaps import render_gaussians"),
    "a name that only begins alike": ("lightning_kp.video", "import lightning_kp.methods_of_speech"),
    "for type checkers only": (
        "lightning_kp.contract",
        "if TYPE_CHECKING:\n  from lightning_kp.method import Method",
    ),
}


@pytest.mark.parametrize("case", WRONG_WAY)
def test_checker_finds(case: str) -> None:
    assert violations(*WRONG_WAY[case])


@pytest.mark.parametrize("case", RIGHT_WAY)
def test_checker_lets_pass(case: str) -> None:
    assert violations(*RIGHT_WAY[case]) == []


def test_checker_finds_circles() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


# ---------------------------------------------------------------- the package is right


@pytest.fixture(scope="module")
def files(root: Path) -> dict[str, Path]:
    return dict(source_files(root))


def test_imports_reach_lower_rows_only(files: dict[str, Path]) -> None:
    assert {PACKAGE, f"{PACKAGE}.geometry", f"{PACKAGE}.methods"} <= files.keys()
    found = {module: violations(module, path.read_text("utf-8")) for module, path in files.items()}
    assert {module: names for module, names in found.items() if names} == {}


def test_no_two_modules_import_each_other(files: dict[str, Path]) -> None:
    edges = {
        module: {
            name
            for name in imports_of(ast.parse(path.read_text("utf-8")))
            if name in files and name != module
        }
        for module, path in files.items()
    }
    assert sum(map(len, edges.values())) > 500
    edges[f"{PACKAGE}.{FINDS_PLUGINS}"] -= set(
        core(*PLUGINS)
    )  # finds them by name when asked, not when imported
    # A package's own name is a docstring, so that naming it beside one of its modules closes no circle.
    assert circles({module: names - {PACKAGE} for module, names in edges.items()}) == []


def test_every_part_has_a_row(root: Path) -> None:
    parts = {
        path.stem
        for path in (root / PACKAGE).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert parts | set(PLUGINS) == ROW.keys() | {"__init__"}


def test_the_top_holds_the_modules_of_the_layout(root: Path) -> None:
    assert {path.stem for path in (root / PACKAGE).glob("*.py")} == TOP_MODULES | {"__init__"}


def test_no_private_name_leaves_its_module(files: dict[str, Path]) -> None:
    borrowed = [
        f"{module}: {node.module}.{alias.name}"
        for module, path in files.items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and is_within(str(node.module), PACKAGE)
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]
    assert borrowed == []


def test_packages_have_a_room_size(root: Path) -> None:
    least, most = MODULES_PER_PACKAGE
    sizes = {
        init.parent.name: len(list(init.parent.glob("*.py"))) - 1
        for init in (root / PACKAGE).glob("*/__init__.py")
    }
    assert OTHER_SIZES.keys() <= sizes.keys()
    assert {
        name: size for name, size in sizes.items() if not least <= size <= most
    }.keys() == OTHER_SIZES.keys()


def test_modules_have_a_page_size(files: dict[str, Path]) -> None:
    lengths = {module: len(path.read_text("utf-8").splitlines()) for module, path in files.items()}
    assert {module for module, lines in lengths.items() if lines > LINES_PER_MODULE} == LONGER.keys()


def test_a_package_is_a_docstring(root: Path) -> None:
    for init in (root / PACKAGE).glob("*/__init__.py"):
        body = ast.parse(init.read_text("utf-8")).body
        assert len(body) == 1, init
        assert ast.get_docstring(ast.parse(init.read_text("utf-8"))), init


def test_verbs_are_the_words_of_the_command(root: Path) -> None:
    modules = {path.stem for path in (root / PACKAGE / "verbs").glob("*.py")} - {"__init__"}
    assert modules == cli.VERBS.keys() - set(cli.TRAINER_VERBS)


def test_tests_mirror_the_tree(root: Path) -> None:
    strays = []
    for path in (root / "tests").glob("*/test_*.py"):
        folder, module = path.parent.name, path.stem.removeprefix("test_")
        home = root / folder if folder in PLUGINS else root / PACKAGE / folder
        if not (home / f"{module}.py").is_file():
            strays.append(str(path.relative_to(root)))
    assert strays == []


def test_the_path_that_yaml_files_hold_stays() -> None:
    from lightning_kp.schedules import WarmupCosine

    assert WarmupCosine.__module__ == "lightning_kp.schedules"


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
