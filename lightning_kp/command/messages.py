"""Condense the parser's long messages to one line that names the option and the nearest spelling."""

import contextlib
import importlib
import inspect
import re
from collections.abc import Callable, Iterable

from lightning_kp.errors import ConfigurationError, KeypointError, did_you_mean, nearest

_KEY = re.compile(r'Parser key "([^"]+)"')
_OWNER = re.compile(r"class_path[ =]'([\w.]+)'")
_NOISE = re.compile(
    r"Parser key|Problem with given class_path|Does not validate against|Subtypes:|Errors:|Given value|"
    r"Expected a <class 'NoneType'>|either not accessible or invalid"
)
_TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}


def condense(
    message: str, options: Iterable[str], classes: Callable[[], Iterable[str]]
) -> ConfigurationError:
    """Return the error for a message of jsonargparse.

    ``options`` are the parser's own option strings; ``classes()`` gives the short names that a class option accepts.
    """
    known = [option for option in options if option.startswith("--")]
    path = ".".join(_KEY.findall(message))
    if found := re.search(r"Option '([^']+)' is not accepted", message):
        return _unknown_argument(message, path, found[1])
    if found := re.search(r"unrecognized arguments: (\S+)|does not accept option '([^']+)'", message):
        return _unknown_option(found[1] or f"--{found[2]}", known)
    if found := re.search(r"ambiguous option: (\S+) could match (.*)", message):
        return ConfigurationError(f"{found[1]} is ambiguous.", remedy=f"Choose one: {found[2]}")
    if found := re.search(r"arguments are required: (.*)", message):
        names = found[1].split(", ")
        if path:  # arguments of the class that this option names
            missing = " and ".join(f"--{path}.{name}" for name in names)
            return ConfigurationError(f"Missing: {missing}.", remedy=f"Type --{path}.{names[0]}=...")
        missing = " and ".join("--" + name.split(".", 1)[-1] for name in names)
        return ConfigurationError(
            f"Missing: {missing}.",
            remedy="`kp methods` lists the choices; --config FILE reads all settings from a file.",
        )
    if found := re.search(r"File does not exist: '?([^'\n]+)", message):
        return ConfigurationError(f"--{path or 'config'}: there is no file {found[1]}.")
    if wanted := _wanted(message):
        return ConfigurationError(f"--{path} needs {wanted}; {_given(message)} was given.")
    if found := re.search(r"Expected a dot import path string: (\S+)", message):
        return _unknown_class(path, found[1], classes())
    if found := re.search(
        r"class_path '([\w.]+)':\s+(No module named '[^']+'|module \S+ has no attribute \S+)", message
    ):
        return ConfigurationError(
            f"--{path}: {found[1]} cannot be imported ({found[2]}).",
            remedy="Name a class of your own as FILE.CLASS, with FILE.py in the current folder.",
        )
    return ConfigurationError(_leaves(message, path))


def cause_of_ours(error: BaseException) -> KeypointError | None:
    """Return the error of ours that another one was raised from, None where there is none."""
    link = error.__cause__ or error.__context__
    while link is not None and not isinstance(link, KeypointError):
        link = link.__cause__ or link.__context__
    return link


def _unknown_argument(message: str, path: str, name: str) -> ConfigurationError:
    owners = _OWNER.findall(message.split(f"Option '{name}'")[0] + _callable_owner(message))
    owner = owners[-1] if owners else ""
    prefix = f"--{path}." if path else "--"
    of_class = f" of {owner.rsplit('.', 1)[-1]}" if owner else ""
    return ConfigurationError(
        f"{prefix}{name} is not an option{of_class}.", remedy=did_you_mean(name, _arguments(owner), prefix)
    )


def _callable_owner(message: str) -> str:
    """The path of a class inside a callable (an optimiser), which jsonargparse prints only after the complaint."""
    found = re.search(r"is not accepted\. Got value: Namespace\((class_path='[\w.]+')", message)
    return found[1] if found else ""


def _arguments(class_path: str) -> list[str]:
    """Names of the arguments of a class that is already imported, those passed on to its bases included."""
    names: list[str] = []
    module, _, name = class_path.rpartition(".")
    with contextlib.suppress(ImportError, AttributeError, ValueError, TypeError):
        kind = getattr(importlib.import_module(module), name)
        for base in inspect.getmro(kind)[:-1]:
            if (initialiser := vars(base).get("__init__")) is None:
                continue
            parameters = list(inspect.signature(initialiser).parameters.values())[1:]
            names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return list(dict.fromkeys(names))


def _unknown_option(given: str, known: list[str]) -> ConfigurationError:
    name = given.split("=")[0].rstrip("+")
    near = nearest(name, known)
    remedy = f"Did you mean {near}?" if near else "`kp fit --help` lists all options."
    return ConfigurationError(f"{name} is not an option.", remedy=remedy)


def _unknown_class(path: str, name: str, classes: Iterable[str]) -> ConfigurationError:
    near = nearest(name, classes)
    hint = f"Did you mean {near}?" if near else "`kp methods` lists the classes."
    return ConfigurationError(
        f"--{path}: there is no class {name}.",
        remedy=f"{hint} Name a class of your own as FILE.CLASS, with FILE.py in the current folder.",
    )


def _wanted(message: str) -> str:
    """The values or types that the parser expected, in words; empty if the message names none."""
    literals = re.findall(r"Expected a typing\.Literal\[([^]]*)\]", message)
    types = [kind for kind in re.findall(r"Expected a <class '(\w+)'>", message) if kind != "NoneType"]
    words = [_TYPES.get(kind, kind) for kind in dict.fromkeys(types)]
    if literals:
        words.append("one of " + ", ".join(literal.replace("'", "") for literal in literals))
    return " or ".join(words)


def _given(message: str) -> str:
    found = re.search(r"Got value: ?(.*)", message) or re.search(r"Given value: '?([^'\n]*)", message)
    return repr(found[1]) if found and found[1] else "nothing"


def _leaves(message: str, path: str) -> str:
    """The informative lines of a message, joined."""
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    informative = list(dict.fromkeys(line for line in lines if line and not _NOISE.search(line)))
    prefix = f"--{path}: " if path else ""
    return prefix + ("; ".join(informative) or " ".join(message.split()))
