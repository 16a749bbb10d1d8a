"""Prompt templates: what is asked of the model, robot step or question alike. Named and versioned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from rt2data.errors import UsageError
from rt2data.io.words import choose
from rt2data.records import Turn

CLEANING = "instructions: '_' to space, white space folded, final punctuation dropped; questions: white space folded"
_FINAL = " .,;:!?…。，；：！？、"
_ENDS = (".", "?", "!", "…", "。", "？", "！")


class Piece(NamedTuple):
    """A part of a conversation's text: a prompt, or a target with the space before it."""

    text: str
    loss: bool
    target: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """The words around an instruction or a question; the first `{}` is its place, and nothing in the text is a field.

    Every prompt ends with `cue`, and with a space after it where `gap` is empty; a target follows after `gap`.
    """

    name: str
    version: int
    words: str  # around every question
    robot: str  # the question of a robot step, around its instruction
    cue: str
    gap: str
    lower: bool = False  # instructions in lower case
    question_mark: bool = False  # questions that end without punctuation get a question mark

    def robot_question(self, instruction: str) -> str:
        """What is asked about a robot step, without the template's own words."""
        return _fill(self.robot, clean_instruction(instruction, self.lower))

    def web_question(self, question: str) -> str:
        """A question about images on one line, without the template's own words."""
        text = " ".join(question.split())
        return text if text.endswith(_ENDS) or not self.question_mark else text + "?"

    def prompt(self, question: str) -> str:
        """The prompt of a question."""
        return _fill(self.words, question)

    def robot_prompt(self, instruction: str) -> str:
        """The prompt of a robot step."""
        return self.prompt(self.robot_question(instruction))

    def web_prompt(self, question: str) -> str:
        """The prompt of a question about images."""
        return self.prompt(self.web_question(question))

    def pieces(self, turns: Sequence[Turn]) -> list[Piece]:
        """A conversation as text: prompts and targets that take turns. A system turn begins the first prompt.

        The user's words stay as they are, line ends too. Turns are a system turn or none, then user and assistant alternately.
        """
        system = [turn.text + "\n" for turn in turns if turn.role == "system"]
        spoken = [turn for turn in turns if turn.role != "system"]
        found = list[Piece]()
        for turn in spoken:
            if turn.role == "user":
                found.append(Piece(("\n" if found else "".join(system)) + self.prompt(turn.text), loss=False))
            else:
                found.append(Piece(" " + turn.text, turn.loss, target=True))
        return found

    def slot(self, prompt: str, robot: bool) -> str | None:
        """The instruction or question in a prompt; None where the prompt is not of this template."""
        before, _, after = (_fill(self.words, self.robot) if robot else self.words).partition("{}")
        whole = prompt.startswith(before) and prompt.endswith(after) and len(prompt) >= len(before) + len(after)
        return prompt[len(before) : len(prompt) - len(after)] if whole else None

    def facts(self) -> dict[str, Any]:
        """Everything that decides a prompt, as JSON values."""
        return asdict(self) | {"cleaning": CLEANING}


TEMPLATES = {
    template.name: template
    for template in (
        # Brohan et al. 2023, arXiv:2307.15818, section 3.2.
        Template(
            "rt2",
            version=1,
            words="Q: {} A:",
            robot="what action should the robot take to {}?",
            cue="A:",
            gap=" ",
            question_mark=True,
        ),
        # Kim et al. 2024, arXiv:2406.09246, and its training code.
        Template(
            "openvla",
            version=1,
            words="In: {}\nOut: ",
            robot="What action should the robot take to {}?",
            cue="Out:",
            gap="",
            lower=True,
        ),
    )
}


def find_template(name: str) -> Template:
    """A template of the table. Raises UsageError for a name it lacks."""
    if name not in TEMPLATES:
        raise UsageError(f"unknown prompt template {name!r}", do=choose(name, TEMPLATES))
    return TEMPLATES[name]


def clean_instruction(instruction: str, lower: bool = False) -> str:
    """An instruction as one line without final punctuation, so that a template can add its own."""
    text = " ".join(instruction.replace("_", " ").split()).rstrip(_FINAL)
    return text.lower() if lower else text


def _fill(form: str, text: str) -> str:
    before, _, after = form.partition("{}")
    return before + text + after
