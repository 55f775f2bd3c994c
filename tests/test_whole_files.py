"""Every file that a user may find is written whole or not at all: only `lightning_kp.files` opens files to write.

The source is walked for other ways of opening one.  What remains is listed with its reason.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDERS = ("lightning_kp", "methods", "datamodules", "callbacks")
OWNER = "lightning_kp/files.py"
# Context managers that yield what appears under its name only when it is complete.
WHOLE = {"writing", "writing_text", "writing_cache", "replacing"}
# Calls that write to the path or file that is their first argument, to the second, or to the object of the method.
TO_FIRST = {
    "save", "savez", "savez_compressed", "savefig", "print_png", "imwrite", "to_csv", "to_hdf", "to_json", "to_netcdf",
    "to_parquet", "savetxt", "ZipFile",
}  # fmt: skip
TO_SECOND = {
    "torch.save",
    "sio.save_slp",
    "save_file",
    "shutil.copy",
    "shutil.copyfile",
    "json.dump",
    "pickle.dump",
}
TO_OBJECT = {"write_text", "write_bytes"}
REASONS = {
    ("lightning_kp/runs/metrics_csv.py", "log_metrics"): "appends one line, and a half line is not read",
    ("lightning_kp/sweeps/runner.py", "_start"): "the log of a trial, which a trial writes as it goes",
    ("lightning_kp/studies/trainings.py", "*"): "the log of a training, which it writes as it goes",
    ("lightning_kp/studies/recordings.py", "_kp"): "the log of a training, which it writes as it goes",
    ("lightning_kp/studies/scenes.py", "*"): "the log of a training, which it writes as it goes",
    ("lightning_kp/tracks/store.py", "_open"): "a store that is continued; half a record is dropped",
    ("lightning_kp/tracks/writing.py", "_write_tidy"): "write_tracks gives a temporary path",
    ("lightning_kp/tracks/writing.py", "_write_dlc_csv"): "write_tracks gives a temporary path",
    ("lightning_kp/tracks/writing.py", "_write_dlc_h5"): "write_tracks gives a temporary path",
    ("lightning_kp/tracks/writing.py", "_write_slp"): "write_tracks gives a temporary path",
    ("lightning_kp/tracks/writing.py", "_write_empty_slp"): "write_tracks gives a temporary path",
    ("lightning_kp/arena/recording.py", "_encode"): "write_arena gives a temporary path",
    ("lightning_kp/arena/recording.py", "_save_truth"): "write_arena gives a temporary file",
    ("lightning_kp/labels/json_files.py", "*"): "a copy in a temporary folder, which only this call sees",
    ("lightning_kp/studies/interrupting.py", "call"): "the console of a copy of this process",
    ("lightning_kp/bench/clips.py", "*"): "clips that a benchmark makes anew in its own folder",
}
MODES = set("wax+")


def nested(tree: ast.AST, function: str = "<module>") -> Iterator[tuple[str, ast.AST]]:
    """Every node with the name of the function that it is in."""
    for child in ast.iter_child_nodes(tree):
        name = child.name if isinstance(child, ast.FunctionDef) else function
        yield name, child
        yield from nested(child, name)


def whole_names(tree: ast.AST) -> set[str]:
    """Names that are bound to a temporary file or path by `with writing(...) as NAME`, and buffers in memory."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.withitem) and isinstance(node.context_expr, ast.Call) and node.optional_vars:
            if ast.unparse(node.context_expr.func).rpartition(".")[2] in WHOLE:
                names.add(ast.unparse(node.optional_vars))
        elif isinstance(node, ast.Assign) and ast.unparse(node.value) in ("io.BytesIO()", "io.StringIO()"):
            names |= {ast.unparse(target) for target in node.targets}
    return names


def target_of(call: ast.Call) -> str | None:
    """What a call writes to, as source text; None for a call that writes nothing."""
    name = ast.unparse(call.func).rpartition(".")[2]
    owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
    first = ast.unparse(call.args[0]) if call.args else ""
    given = (*call.args, *(keyword.value for keyword in call.keywords))
    constants = [each.value for value in given for each in ast.walk(value) if isinstance(each, ast.Constant)]
    writes = any(isinstance(each, str) and 0 < len(each) <= 3 and MODES & set(each) for each in constants)
    if ast.unparse(call.func) in TO_SECOND:
        return ast.unparse(call.args[1])
    if name in TO_OBJECT:
        return owner
    if name in TO_FIRST and first:
        return first
    if name in ("open", "File", "FileIO", "fdopen") and writes:
        return first if owner in ("", "av", "io", "os", "h5py", "zipfile", "gzip") else owner
    return None


def findings(source: str) -> list[tuple[str, str]]:
    """(function, call) of all calls that write a file in place."""
    tree = ast.parse(source)
    found = []
    for function, node in nested(tree):
        if isinstance(node, ast.FunctionDef):
            known = whole_names(node)
            own = [
                each
                for name, each in nested(node, node.name)
                if name == node.name and isinstance(each, ast.Call)
            ]
            for call in own:
                target = target_of(call)
                plain = (target or "").removeprefix("str(").removesuffix(")")
                if target is not None and plain not in known:
                    found.append((node.name, ast.unparse(call)))
        elif isinstance(node, ast.Call) and function == "<module>" and target_of(node) is not None:
            found.append((function, ast.unparse(node)))
    return found


@pytest.mark.parametrize(
    "line",
    [
        "path.write_text('a')", "path.open('w')", "path.open('r+b' if old else 'w')",
        "open(path, 'wb')", "open(path, mode='a')", "path.open('r+')",
        "np.save(path, array)", "figure.savefig(path)", "av.open(str(path), 'w')", "table.to_csv(path)",
        "h5py.File(path, 'w')", "FileIO(path, 'r+b')", "image.save(folder / name)", "torch.save(content, path)",
    ],
)  # fmt: skip
def test_ways_to_write_in_place_are_known(line: str) -> None:
    assert [name for name, _ in findings(f"def write(path):\n    {line}\n")][:1] == ["write"]


@pytest.mark.parametrize(
    "lines",
    [
        "with writing(path) as file:\n        np.save(file, array)",
        "with replacing(path) as temporary:\n        figure.savefig(temporary)",
        "with replacing(path) as temporary, av.open(str(temporary), 'w') as container:\n        pass",
        "buffer = io.BytesIO()\n    image.save(buffer)",
        "text = table.to_csv()",
        "path.open('rb')",
        "text.replace('w', 'a')",
    ],
)
def test_what_is_written_whole_or_only_read_passes(lines: str) -> None:
    assert findings(f"def write(path):\n    {lines}\n") == []


def test_every_file_is_written_whole_or_not_at_all(root: Path) -> None:
    used, wrong = set(), []
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            module = path.relative_to(root).as_posix()
            if module == OWNER:
                continue
            for function, call in findings(path.read_text(encoding="utf-8")):
                key = next((each for each in ((module, function), (module, "*")) if each in REASONS), None)
                if key is None:
                    wrong.append(f"{module}: {function}: {call}")
                else:
                    used.add(key)
    assert not wrong, "\n".join(["Use lightning_kp.files (writing, replacing, ...):", *wrong])
    assert sorted(set(REASONS) - used) == []  # these write no file any more
