"""What a user installs is what the repository holds: packages, files, requirements, the command."""

import ast
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = "lightning_kp"
PLUGINS = ("methods", "datamodules", "callbacks")
GROUPS = tuple(f"{PACKAGE}.{plugin}" for plugin in PLUGINS)


@pytest.fixture(scope="module")
def pyproject(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))


def installed_files(root: Path) -> dict[str, Path]:
    """Path inside the wheel -> file of the tree that belongs there."""
    folders = {PACKAGE: root / PACKAGE} | {f"{PACKAGE}/{plugin}": root / plugin for plugin in PLUGINS}
    return {
        f"{prefix}/{path.relative_to(folder).as_posix()}": path
        for prefix, folder in folders.items()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def modules(root: Path) -> dict[str, Path]:
    return {name: path for name, path in installed_files(root).items() if path.suffix == ".py"}


def packages(root: Path) -> set[str]:
    """Dotted names of the folders that hold modules; a folder without any holds data."""
    return {name.rpartition("/")[0].replace("/", ".") for name in modules(root)}


def declared(pyproject: dict[str, Any]) -> list[Requirement]:
    lists = [pyproject["project"]["dependencies"], *pyproject["project"]["optional-dependencies"].values()]
    return [Requirement(line) for lines in lists for line in lines]


# ---------------------------------------------------------------- lists against the tree


def test_package_list_is_the_tree(root: Path, pyproject: dict[str, Any]) -> None:
    assert set(pyproject["tool"]["setuptools"]["packages"]) == packages(root)


def test_every_package_has_an_init(root: Path) -> None:
    inits = {f"{package.replace('.', '/')}/__init__.py" for package in packages(root)}
    assert inits <= modules(root).keys()


def test_plugin_folders_are_mapped_below_the_package(pyproject: dict[str, Any]) -> None:
    mapped = {f"{PACKAGE}.{plugin}": plugin for plugin in PLUGINS} | {PACKAGE: PACKAGE}
    assert pyproject["tool"]["setuptools"]["package-dir"] == mapped


@pytest.mark.parametrize("plugin", PLUGINS)
def test_installed_plugin_folder_is_the_one_of_the_repository(root: Path, plugin: str) -> None:
    spec = importlib.util.find_spec(f"{PACKAGE}.{plugin}")
    assert spec is not None
    assert Path(str(spec.origin)).resolve() == (root / plugin / "__init__.py").resolve()


# ---------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built, without network, from a copy of what would be committed (the tree stays as it is)."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source / name)
    for name in (PACKAGE, *PLUGINS):
        shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "wheel"]
    run = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    (path,) = (source / "wheel").glob("*.whl")
    return zipfile.ZipFile(path)


def test_wheel_holds_every_file_of_the_packages(root: Path, wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == installed_files(root).keys()


def test_wheel_takes_no_other_name_than_the_package(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {PACKAGE}


def test_wheel_carries_licence_and_command(wheel: zipfile.ZipFile) -> None:
    names = {name.split(".dist-info/")[1]: name for name in wheel.namelist() if ".dist-info/" in name}
    assert "Apache License" in wheel.read(names["licenses/LICENSE"]).decode()
    assert f"kp = {PACKAGE}.cli:main" in wheel.read(names["entry_points.txt"]).decode().splitlines()
    assert "License-Expression: Apache-2.0" in wheel.read(names["METADATA"]).decode().splitlines()


def test_command_of_the_installation_points_to_main(root: Path) -> None:
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="kp")
    if not (root / PACKAGE / "cli.py").is_file():
        pytest.skip("cli.py is not written yet")
    assert command.value == f"{PACKAGE}.cli:main"
    assert callable(command.load())


# ---------------------------------------------------------------- requirements


def test_every_requirement_has_a_lower_bound_and_no_upper_one(pyproject: dict[str, Any]) -> None:
    foreign = [need for need in declared(pyproject) if need.name != pyproject["project"]["name"]]
    assert [str(need) for need in foreign if [spec.operator for spec in need.specifier] != [">="]] == []


def test_every_requirement_has_a_reason_beside_it(root: Path) -> None:
    lines = (root / "pyproject.toml").read_text("utf-8").splitlines()
    needs = [
        line for line in lines if re.search(r'"[A-Za-z0-9._-]+(\[\w+\])?>=', line) and "requires" not in line
    ]
    assert len(needs) > 15
    assert [line for line in needs if not re.search(r"# \S", line)] == []


def third_party_imports(path: Path) -> set[str]:
    tops: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            tops |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            tops.add(node.module.split(".")[0])
    return tops - set(sys.stdlib_module_names) - {PACKAGE}


def test_every_import_is_a_declared_requirement(root: Path, pyproject: dict[str, Any]) -> None:
    distributions = importlib.metadata.packages_distributions()
    known = {canonicalize_name(need.name) for need in declared(pyproject)}
    undeclared = {
        f"{name}: {top}"
        for name, path in modules(root).items()
        for top in third_party_imports(path)
        if known.isdisjoint(map(canonicalize_name, distributions.get(top, [])))
    }
    assert undeclared == set()


def constraints(root: Path) -> dict[str, str]:
    lines = (root / "constraints.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_constraints_are_names_and_versions_only(root: Path) -> None:
    lines = (root / "constraints.txt").read_text("utf-8").splitlines()
    plain = re.compile(r"[a-z0-9-]+==[0-9][0-9a-z.]*")
    assert [line for line in lines if not line.startswith("#") and not plain.fullmatch(line)] == []


def test_constraints_meet_every_requirement(root: Path, pyproject: dict[str, Any]) -> None:
    tested = constraints(root)
    foreign = [need for need in declared(pyproject) if need.name != pyproject["project"]["name"]]
    missing = [need.name for need in foreign if canonicalize_name(need.name) not in tested]
    assert missing == []
    assert [
        str(need) for need in foreign if not need.specifier.contains(tested[canonicalize_name(need.name)])
    ] == []


# ---------------------------------------------------------------- words


def test_entry_point_groups_are_documented(root: Path) -> None:
    text = (root / "CONTRIBUTING.md").read_text("utf-8")
    assert [group for group in GROUPS if f'entry-points."{group}"' not in text] == []


def test_licence_is_the_full_apache_text(root: Path) -> None:
    text = (root / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert all(f"\n   {number}. " in text for number in range(1, 10))
