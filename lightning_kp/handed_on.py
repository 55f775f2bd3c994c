"""Options that a command hands on to ``kp fit``, found among its own arguments."""

from collections.abc import Callable, Sequence


def hand_on(arguments: Sequence[str], is_handed_on: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """A command's own arguments, and the options handed on as ``--name=value``, each in the order typed.

    ``is_handed_on`` judges an argument; a blank may stand before an option's value.
    """
    own: list[str] = []
    options: list[str] = []
    waiting = False
    for argument in arguments:
        if is_handed_on(argument):
            options.append(argument)
            waiting = "=" not in argument
        elif waiting:
            options[-1] += f"={argument}"
            waiting = False
        else:
            own.append(argument)
    return own, options
