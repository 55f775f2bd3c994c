"""``kp methods``: list the methods with their paper, the data they read and their experiments."""

from pathlib import Path

from lightning_kp import plugins
from lightning_kp.command.arguments import VerbParser
from lightning_kp.command.presets import experiment_folder
from lightning_kp.contract import offered_batch_types

HELP = "list all methods with paper, data and experiments"


def run(arguments: list[str]) -> int:
    """Print the table; returns the exit code."""
    VerbParser("methods", HELP).parse_args(arguments)
    kinds = plugins.registered("methods")
    experiments = experiment_folder()
    for name, kind in sorted(kinds.items()):
        print(f"{name}  ({kind.__module__}.{kind.__qualname__})")
        for label, value in describe(name, kind, experiments):
            print(f"  {label:<12} {value}")
        print()
    if not kinds:
        print("No methods are installed.")
    if experiments is None:
        print("Experiment files are part of the repository (experiments/), not of the installed package.")
    return 0


def describe(name: str, kind: type, experiments: Path | None) -> list[tuple[str, str]]:
    """(label, value) pairs that describe a method."""
    batch = getattr(kind, "batch_type", None)
    fits = [
        data for data, module in plugins.registered("datamodules").items()
        if batch in offered_batch_types(module)
    ]  # fmt: skip
    facts = [
        ("paper", getattr(kind, "paper", "") or "not named"),
        ("batch", batch.__name__ if batch is not None else "any"),
        ("data", ", ".join(sorted(fits)) or "none installed"),
    ]
    if experiments is not None:
        files = sorted(file.name for file in experiments.glob(f"{name.lower()}_*.yaml"))
        facts.append(("experiments", ", ".join(files) or "none"))
    return facts
