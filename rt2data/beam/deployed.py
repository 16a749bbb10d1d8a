"""What the mains of deployed pipelines share: a table of options for each, and failures as one line and an exit code.

The parsers, the options known to Beam (`pipeline_options`) and the metadata of the Flex templates are derived from the tables.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rt2data.beam.failure import forget, tell
from rt2data.errors import RtError, UsageError
from rt2data.io.location import path_of, writable
from rt2data.io.words import closest

Kind = Literal["text", "path", "output", "flag", "settings"]

PLACE = r"^([a-z][a-z0-9+.-]*://|/).+$"
"""A URI or an absolute path: the machine that launches a template does not have the user's folders."""
TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class Option:
    """An option of a pipeline, and a parameter of its template. Names have underscores, as Beam's do; hyphens are accepted too."""

    name: str
    label: str
    help: str
    kind: Kind = "text"
    default: str | None = None
    otherwise: str = ""  # the default, in words
    needed: bool = False  # required by a template; a command line uses the default
    pattern: str = ""  # what the whole value must match

    @property
    def flags(self) -> tuple[str, ...]:
        """How it can be written: first with hyphens, as in the command."""
        return tuple(dict.fromkeys((f"--{self.name.replace('_', '-')}", f"--{self.name}")))

    @property
    def whole_help(self) -> str:
        """Its meaning, and its default."""
        return f"{self.help} Default: {self.otherwise}." if self.otherwise else self.help

    @property
    def regexes(self) -> list[str]:
        """What the value of a template parameter must match."""
        pattern = {"path": PLACE, "output": PLACE, "flag": "^(true|false)$"}.get(self.kind, self.pattern)
        return [pattern] if pattern else []

    def add_to(self, parser: argparse.ArgumentParser, plain: bool = False) -> None:
        """Add it to a parser; `plain` values stay text, which every runner can pass on."""
        how: dict[str, Any] = {"help": self.whole_help.replace("%", "%%"), "dest": self.name, "default": self.default}
        if self.kind == "flag":  # so that a template can pass `--overwrite=true`
            how |= {"nargs": "?", "const": True, "default": False, "type": _truth, "metavar": "true|false"}
        elif self.kind == "settings":
            how |= {"action": "extend", "type": str.splitlines, "default": [], "metavar": "KEY=VALUE"}
        elif self.kind in ("path", "output") and not plain:
            how["type"] = _output if self.kind == "output" else path_of
            how["default"] = path_of(self.default) if self.default else None
        parser.add_argument(*self.flags, **how)

    def parameter(self) -> dict[str, Any]:
        """Its entry in a template's metadata: ParameterMetadata of the Dataflow API."""
        text = self.help if self.needed else self.whole_help
        found = {"name": self.name, "label": self.label, "helpText": text, "isOptional": not self.needed}
        return found | ({"regexes": self.regexes} if self.regexes else {})


@dataclass(frozen=True)
class Pipeline:
    """A deployed pipeline: the file name of its main, without suffix, and its options."""

    name: str
    label: str
    summary: str
    options: tuple[Option, ...]

    def metadata(self) -> dict[str, Any]:
        """Metadata of its Flex template: TemplateMetadata of the Dataflow API."""
        parameters = [option.parameter() for option in self.options]
        return {"name": self.label, "description": self.summary, "streaming": False, "parameters": parameters}

    def parser(self, description: str | None) -> argparse.ArgumentParser:
        """A parser that shows the description unformatted and takes no abbreviations: those may be options of Beam."""
        raw = argparse.RawDescriptionHelpFormatter
        parser = argparse.ArgumentParser(description=description, formatter_class=raw, allow_abbrev=False)
        for option in self.options:
            option.add_to(parser)
        return parser

    def parse(self, arguments: Sequence[str], description: str | None) -> tuple[argparse.Namespace, list[str]]:
        """Our own options, and the remaining arguments, which are Beam's.

        Beam ignores options that it does not know, so a misspelled option of ours is refused here.
        """
        parser = self.parser(description)
        try:
            ours, beams = parser.parse_known_args(arguments)
        except UsageError as error:  # for example a URI that cannot be opened
            parser.error(str(error))
        known = [flag for option in self.options for flag in option.flags]
        for name in (each.split("=")[0] for each in beams if each.startswith("--")):
            if near := closest(name, known, cutoff=0.8):
                parser.error(f"unknown option {name}: did you mean {near}?")
        return ours, beams


def _output(text: str) -> Path:
    return writable(path_of(text))


def _truth(text: str) -> bool:
    if text not in TRUTH:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return TRUTH[text]


FAILURE = Option(
    "failure_file",
    "File for a failure",
    "Write a failure to this file as JSON: error, code, what, where, do.",
    "output",
    otherwise="a file beside the output, for as long as the job runs",
)
BESIDE_RECIPE = "the recipe's name without its suffix"

MIXTURE = Pipeline(
    "build_mixture",
    "Build a co-training mixture",
    "Mixes robot logs and web VQA, as a recipe says, into tokenized and exactly mixed shards for vision-language-action models.",
    (
        Option("recipe", "Recipe", "The recipe, a YAML file.", "path", "mixture.yaml", "mixture.yaml", needed=True),
        Option("out", "Output", "Folder of the mixture.", "output", otherwise=BESIDE_RECIPE, needed=True),
        Option(
            "robot_frac",
            "Robot fraction",
            "Fraction of examples that are robot steps: 0.5, 2/3 or 50%.",
            otherwise="the recipe's",
            pattern=r"^[0-9]+([./][0-9]+)?%?$",
        ),
        Option(
            "set",
            "Overrides",
            "Override values of the recipe: KEY=VALUE, such as size.num_examples=1000. Several may be given, one on each line.",
            "settings",
            pattern=r"^[^=\s]+=[\s\S]*$",
        ),
        Option("overwrite", "Overwrite", "Replace a different complete mixture in the output folder.", "flag"),
        Option("restart", "Restart", "Discard an unfinished build in the output folder.", "flag"),
        Option("allow_bad", "Allow bad rows", "Build even if more rows are faulty than max_bad allows.", "flag"),
        FAILURE,
    ),
)

STATS = Pipeline(
    "mixture_stats",
    "Statistics of a mixture",
    "Takes statistics of actions, episodes, text, images, tokens and shares of a mixture, a recipe, a prepared store or a source.",
    (
        Option("path", "Subject", "A mixture, recipe, store or source.", "path", "mixture", "mixture", needed=True),
        Option("out", "Output", "The JSON file to write.", "output", "stats.json", "stats.json", needed=True),
        Option("split", "Split", "Only this split.", otherwise="all"),
        Option("codec", "Action codec", "Codec for actions.", otherwise="the recipe's, or rt2"),
        Option("recipe", "Recipe", "Recipe with the template, codec and tokenizer for a store.", "path"),
        Option("store", "Stores", "Folder of prepared stores.", "path", otherwise="the recipe's, or the cache"),
        Option("force", "Force", "Replace a file that is not a statistics file.", "flag"),
        FAILURE,
    ),
)

PIPELINES = (MIXTURE, STATS)


@contextmanager
def failures_told(file: Path | None) -> Iterator[None]:
    """Also write a failure of this process to a file, if one is given: the launcher of a template sees nothing else."""
    if file:
        forget(file)
    try:
        yield
    except RtError as error:
        if file:
            tell(file, error)
        raise


def main(name: str, run: Callable[[Sequence[str]], None]) -> None:
    """Run with the command line arguments; exit with the code of any failure."""
    try:
        run(sys.argv[1:])
    except RtError as error:
        sys.stderr.write(f"{name}: {error}\n")
        sys.exit(error.code)
