"""Every command takes paths and URIs: before it begins, each becomes the plain path, and a URI that cannot be opened is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from rt2data.io.location import path_of


def accept_uris(app: typer.Typer) -> None:
    """Do so for all commands of an application and of its groups."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _with_plain_paths(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            accept_uris(group.typer_instance)


def _with_plain_paths(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same command: typer reads its signature through the wrapper."""

    @wraps(function)
    def command(**given: Any) -> Any:
        return function(**{name: _plain(value) for name, value in given.items()})

    return command


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return path_of(value) if isinstance(value, Path) else value
