"""Prompt templates: what is asked of the model about a picture, robot step or question alike. Named and versioned."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rt2data.errors import UsageError
from rt2data.io.words import choose

CLEANING = "instructions: '_' to space, white space folded, final punctuation dropped; questions: white space folded"
_FINAL = " .,;:!?…。，；：！？、"
_ENDS = (".", "?", "!", "…", "。", "？", "！")


@dataclass(frozen=True, slots=True)
class Template:
    """The words around an instruction or a question; the first `{}` is its place, and nothing in the text is a field.

    Every prompt ends with `cue`, and with a space after it where `gap` is empty; a target follows after `gap`.
    """

    name: str
    version: int
    robot: str
    web: str
    cue: str
    gap: str
    lower: bool = False  # instructions in lower case
    question_mark: bool = False  # questions that end without punctuation get a question mark

    def robot_prompt(self, instruction: str) -> str:
        """The prompt of a robot step."""
        return _fill(self.robot, clean_instruction(instruction, self.lower))

    def web_prompt(self, question: str) -> str:
        """The prompt of a question about a picture."""
        text = " ".join(question.split())
        return _fill(self.web, text if text.endswith(_ENDS) or not self.question_mark else text + "?")

    def slot(self, prompt: str, robot: bool) -> str | None:
        """The instruction or question in a prompt; None where the prompt is not of this template."""
        before, _, after = (self.robot if robot else self.web).partition("{}")
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
            robot="Q: what action should the robot take to {}? A:",
            web="Q: {} A:",
            cue="A:",
            gap=" ",
            question_mark=True,
        ),
        # Kim et al. 2024, arXiv:2406.09246, and its training code.
        Template(
            "openvla",
            version=1,
            robot="In: What action should the robot take to {}?\nOut: ",
            web="In: {}\nOut: ",
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
    """An instruction as one line without final punctuation, so that a template may go on with its own."""
    text = " ".join(instruction.replace("_", " ").split()).rstrip(_FINAL)
    return text.lower() if lower else text


def _fill(form: str, text: str) -> str:
    before, _, after = form.partition("{}")
    return before + text + after
