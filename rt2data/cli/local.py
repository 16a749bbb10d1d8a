"""No command takes a path that has a scheme: it is refused before the command begins, whichever option it comes by."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from rt2data.io.location import local_path


def local_paths_only(app: typer.Typer) -> None:
    """Make all commands of the application, those of its groups too, refuse such paths with UsageError."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _refusing(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            local_paths_only(group.typer_instance)


def _refusing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same command: typer reads its signature through the wrapper."""

    @wraps(function)
    def command(**given: Any) -> Any:
        for value in given.values():
            for each in value if isinstance(value, list | tuple) else (value,):
                if isinstance(each, Path):
                    local_path(each)
        return function(**given)

    return command
