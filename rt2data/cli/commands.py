"""What all commands share: -h, -q, -v, full summaries, URIs for paths, and "did you mean" for unknown commands."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from rt2data.io.location import path_of, writable

Function = Callable[..., Any]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only results, warnings and failures.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print tracebacks and the messages of libraries.")]
SHARED = {"quiet": Quiet, "verbose": Verbose}


@dataclass
class Verbosity:
    """`quiet`: results, warnings and failures only. `verbose`: also tracebacks, and messages of libraries."""

    quiet: bool = False
    verbose: bool = False


verbosity = Verbosity()


class Command(TyperCommand):
    """A command whose summary is never cut."""

    def get_short_help_str(self, limit: int = 45) -> str:
        return summary(self.help)


class BeamCommand(Command):
    """A command that runs on Beam where `--runner` says so: what follows `--` is Beam's, and `--beam-option` collects it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ours, beams = args[:at], args[at + 1 :]
        if any(each.split("=")[0] == "--runner" for each in ours):
            args = [*ours, *(f"--beam-option={each}" for each in beams)]
        elif any(each.startswith("--") for each in beams):
            ctx.fail("Options after -- are passed to a Beam runner: name one with --runner.")
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- BEAM OPTIONS]"]


class Group(TyperGroup):
    """A group of commands that suggests a name for an unknown one."""

    def get_short_help_str(self, limit: int = 45) -> str:
        return summary(self.help)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = suggestions(args[0], list(paths(self)))
            hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


class App(typer.Typer):
    """An application of such commands."""

    def __init__(self, **kwargs: Any) -> None:
        names = {"help_option_names": ["-h", "--help"]}
        super().__init__(cls=Group, context_settings=names, no_args_is_help=True, rich_markup_mode=None, **kwargs)

    def verb(self, name: str | None = None, beam: bool = False, **kwargs: Any) -> Callable[[Function], Function]:
        """Make a function a command, with -q and -v among its options; with `beam` one that passes options on to Beam."""

        def register(function: Function) -> Function:
            self.command(name, cls=BeamCommand if beam else Command, **kwargs)(with_shared(function))
            return function

        return register


def with_shared(function: Function) -> Function:
    """The function with the options `quiet` and `verbose`, which set `verbosity`; `quiet` is passed on if the function takes it."""
    hints = get_type_hints(function, include_extras=True)
    own = inspect.signature(function).parameters
    parameters = [each.replace(annotation=hints[name], kind=each.KEYWORD_ONLY) for name, each in own.items()]
    extra = {name: kind for name, kind in SHARED.items() if name not in own}
    parameters += [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=k) for n, k in extra.items()]

    @functools.wraps(function)
    def call(**given: Any) -> Any:
        verbosity.quiet, verbosity.verbose = given["quiet"], given["verbose"]
        return function(**{name: value for name, value in given.items() if name not in extra})

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {**hints, **extra}
    return call


def summary(text: str | None) -> str:
    """The first paragraph on one line."""
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


def paths(group: Any, above: str = "") -> Iterator[str]:
    """Every command's words: `plan`, `store list`."""
    for name, each in group.commands.items():
        if hasattr(each, "commands"):
            yield from paths(each, f"{above}{name} ")
        yield above + name


def suggestions(typed: str, known: list[str]) -> list[str]:
    """Up to two commands that were probably meant: those that begin with the word, else those spelled alike."""
    begin = [path for path in known if path.split()[-1].startswith(typed)]
    last = {path.split()[-1]: path for path in known}
    near = [last[word] for word in get_close_matches(typed, last, n=2)]
    return (begin or near)[:2]


def accept_uris(app: typer.Typer) -> None:
    """Make all commands of the application and its groups take URIs for paths.

    Before a command begins, each becomes the plain path. Raises UsageError for a URI that cannot be opened, and for one that is
    `WRITTEN` and cannot be.
    """
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _with_plain_paths(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            accept_uris(group.typer_instance)


def _with_plain_paths(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same command: typer reads its signature through the wrapper."""

    hints = get_type_hints(function, include_extras=True)
    written = {name for name, hint in hints.items() if WRITTEN in getattr(hint, "__metadata__", ())}

    @functools.wraps(function)
    def call(**given: Any) -> Any:
        plain = {name: _plain(value) for name, value in given.items()}
        for path in filter(None, map(plain.get, sorted(written))):
            writable(path)
        return function(**plain)

    return call


class _Written:
    """Marks a parameter of a command, in its annotation: its path is written."""


WRITTEN = _Written()


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_plain(each) for each in value)
    return path_of(value) if isinstance(value, Path) else value
