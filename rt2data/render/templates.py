"""Prompt templates: how a model is asked, for robot steps and questions alike. Named and versioned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from rt2data.errors import UsageError
from rt2data.io.words import choose
from rt2data.records import Note, Turn

CLEANING = "instructions: '_' to space, white space folded, final punctuation dropped; questions: white space folded"
_FINAL = " .,;:!?…。，；：！？、"
_ENDS = (".", "?", "!", "…", "。", "？", "！")


class Piece(NamedTuple):
    """A part of a conversation's text: a prompt, or a target with its leading space."""

    text: str
    loss: bool
    target: bool = False


class Thought(NamedTuple):
    """A part of what is said before an action: its words, and the notes that can fill them; the first available is used."""

    form: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """The words around an instruction or a question; only the first `{}` is replaced.

    Every prompt ends with `cue`, followed by a space if `gap` is empty; a target follows after `gap`.
    """

    name: str
    version: int
    words: str  # around every question
    robot: str  # the question of a robot step, around its instruction
    cue: str
    gap: str
    lower: bool = False  # instructions are lower-cased
    question_mark: bool = False  # questions without final punctuation get a question mark
    robot_words: str = ""  # around the question of a robot step, if not `words`
    robot_cue: str = ""  # end of a robot step's prompt, if not `cue`
    thoughts: tuple[Thought, ...] = ()  # what is said before an action
    action_cue: str = ""  # precedes the action after the thoughts

    def robot_question(self, instruction: str) -> str:
        """The question for a robot step, without the template's own words."""
        return _fill(self.robot, clean_instruction(instruction, self.lower))

    def web_question(self, question: str) -> str:
        """A question about images on one line, without the template's own words."""
        text = " ".join(question.split())
        return text if text.endswith(_ENDS) or not self.question_mark else text + "?"

    def prompt(self, question: str, robot: bool = False) -> str:
        """The prompt of a question, about images or a robot step."""
        return _fill((self.robot_words or self.words) if robot else self.words, question)

    def robot_prompt(self, instruction: str) -> str:
        """The prompt of a robot step."""
        return self.prompt(self.robot_question(instruction), robot=True)

    @property
    def before_action(self) -> str:
        """What precedes an action, in the prompt or in the target."""
        return self.action_cue or self.cue

    @property
    def before_thoughts(self) -> str:
        """What precedes the target of a robot step."""
        return self.robot_cue or self.cue

    def say(self, notes: Sequence[Note]) -> list[tuple[str, str]]:
        """What is said before an action: form and text of each part with a note."""
        texts = {note.name: note.text for note in notes}
        found = ((thought.form, next((texts[name] for name in thought.notes if name in texts), "")) for thought in self.thoughts)
        return [(form, _fill(form, text.rstrip(_FINAL) if form.endswith(".") else text)) for form, text in found if text]

    def action_of(self, target: str) -> str:
        """The action in the target of a robot step, without what is said before it."""
        return target.rpartition(self.action_cue)[2].removeprefix(" ") if self.action_cue else target

    def web_prompt(self, question: str) -> str:
        """The prompt of a question about images."""
        return self.prompt(self.web_question(question))

    def pieces(self, turns: Sequence[Turn]) -> list[Piece]:
        """A conversation as text: alternating prompts and targets. A system turn begins the first prompt.

        The user's words are unchanged, line ends included. Turns are an optional system turn, then user and assistant alternately.
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
        """The instruction or question in a prompt; None if the prompt does not fit this template."""
        before, _, after = (self.prompt(self.robot, robot=True) if robot else self.words).partition("{}")
        whole = prompt.startswith(before) and prompt.endswith(after) and len(prompt) >= len(before) + len(after)
        return prompt[len(before) : len(prompt) - len(after)] if whole else None

    def facts(self) -> dict[str, Any]:
        """Everything that determines a prompt, as JSON values."""
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
        # Brohan et al. 2023, section 4.4: a plan in words before the action.
        Template(
            "rt2_plan",
            version=1,
            words="Q: {} A:",
            robot="{}",
            cue="A:",
            gap=" ",
            question_mark=True,
            robot_words="Instruction: {}.",
            robot_cue=".",
            thoughts=(Thought("Plan: {}.", ("plan", "subtask")),),
            action_cue="Action:",
        ),
        # Zawalski et al. 2024, arXiv:2407.08693, and its training code.
        Template(
            "ecot",
            version=1,
            words=(
                "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
                "and polite answers to the user's questions. USER: {} ASSISTANT:"
            ),
            robot="What action should the robot take to {}?",
            cue="ASSISTANT:",
            gap=" ",
            lower=True,
            thoughts=(
                Thought("TASK: {}", ("task",)),
                Thought("PLAN: {}", ("plan",)),
                Thought("VISIBLE OBJECTS: {}", ("bboxes",)),
                Thought("SUBTASK REASONING: {}", ("subtask_reason",)),
                Thought("SUBTASK: {}", ("subtask",)),
                Thought("MOVE REASONING: {}", ("move_reason",)),
                Thought("MOVE: {}", ("move",)),
                Thought("GRIPPER POSITION: {}", ("gripper",)),
            ),
            action_cue="ACTION:",
        ),
    )
}


def find_template(name: str) -> Template:
    """A template of the table. Raises UsageError for an unknown name."""
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
