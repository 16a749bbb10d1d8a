"""As much of Cloud Workflows as a workflow of ours needs: steps, expressions, and HTTP, which goes to this machine.

Whatever it does not know is an error: a test that passes here uses nothing but what is written below.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, urlopen

from ruamel.yaml import YAML

LIMIT = 1000
"""Steps of one run: more is a loop without end."""

KEYS = {"assign", "call", "args", "result", "try", "retry", "except", "switch", "next", "raise", "return", "steps"}
"""What a step may have."""


class Raised(Exception):  # noqa: N818
    """What a workflow raises; it ends as FAILED."""

    def __init__(self, value: Any) -> None:
        super().__init__(str(value))
        self.value = value


@dataclass
class Answer:
    """The value of a `return` step."""

    value: Any


class Map(dict[str, Any]):
    """A map whose entries are attributes too, as in expressions."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise Raised({"tags": ["KeyError"], "message": name}) from None


def mapped(value: Any) -> Any:
    """The same with such maps."""
    if isinstance(value, dict):
        return Map({str(name): mapped(each) for name, each in value.items()})
    return [mapped(each) for each in value] if isinstance(value, list) else value


def read_workflow(path: Path) -> Any:
    """The main workflow: its parameter and steps."""
    tree = YAML(typ="safe").load(path.read_text())
    assert list(tree) == ["main"] and list(tree["main"]) == ["params", "steps"]
    return tree["main"]


@dataclass
class Run:
    """One execution."""

    url: str  # what stands for every host
    variables: dict[str, Any]
    environment: dict[str, str]
    calls: list[tuple[str, str, Any]] = field(default_factory=list)  # method, url, body
    left: int = LIMIT

    def steps(self, steps: list[dict[str, Any]]) -> Any:
        """Carry out steps in order, or as they jump: the answer, if there is one, or the name of a step elsewhere."""
        names = [next(iter(step)) for step in steps]
        at = 0
        while at < len(steps):
            self.left -= 1
            assert self.left, "a loop without end"
            found = self.step(steps[at][names[at]])
            if isinstance(found, str) and found in names:
                at = names.index(found)
            elif found is not None:
                return found
            else:
                at += 1
        return None

    def step(self, body: dict[str, Any]) -> Any:
        """Carry out one: an answer, the name of the next step, or None."""
        unknown = body.keys() - {
            "assign",
            "call",
            "args",
            "result",
            "try",
            "retry",
            "except",
            "switch",
            "next",
            "raise",
            "return",
            "steps",
        }
        assert not unknown, unknown
        if "raise" in body:
            raise Raised(self.value(body["raise"]))
        if "return" in body:
            return Answer(self.value(body["return"]))
        found = self._act(body)
        return found if found is not None else body.get("next")

    def _act(self, body: dict[str, Any]) -> Any:
        if "assign" in body:
            return self._assign(body["assign"])
        if "switch" in body:
            chosen = next((each for each in body["switch"] if self.value(each["condition"])), None)
            return chosen and self.step({name: each for name, each in chosen.items() if name != "condition"})
        if "try" in body:
            return self._try(body)
        if "steps" in body:
            return self.steps(body["steps"])
        if "call" in body:
            self._call(body["call"], self.value(body["args"]), body.get("result"))
        return None

    def _try(self, body: dict[str, Any]) -> Any:
        assert body.get("retry", "${http.default_retry}") == "${http.default_retry}"
        try:
            return self.step(body["try"])
        except Raised as error:
            if "except" not in body:
                raise
            self.variables[body["except"]["as"]] = mapped(error.value)
            return self.steps(body["except"]["steps"])

    def _assign(self, pairs: list[dict[str, Any]]) -> None:
        for pair in pairs:
            ((name, value),) = pair.items()
            *path, last = name.split(".")
            place = self.variables
            for each in path:
                place = place[each]
            place[last] = mapped(self.value(value))

    def _call(self, name: str, arguments: dict[str, Any], result: str | None) -> None:
        if name == "sys.sleep":
            time.sleep(min(arguments["seconds"], 0.2))
            return
        assert name in ("http.post", "http.get"), name
        assert arguments.pop("auth") == {"type": "OAuth2"}
        found = self._http(name.removeprefix("http.").upper(), **arguments)
        if result:
            self.variables[result] = mapped(found)

    def _http(self, method: str, url: str, body: Any = None, query: dict[str, str] | None = None) -> Any:
        parts = urlsplit(url)
        assert parts.scheme == "https" and parts.netloc.endswith(".googleapis.com"), url
        self.calls.append((method, url, body))
        data = None if body is None else json.dumps(body).encode()
        target = f"{self.url}{parts.path}" + (f"?{urlencode(query)}" if query else "")
        try:
            with urlopen(Request(target, data, {"Content-Type": "application/json"}, method=method)) as answer:
                content, kind = answer.read(), answer.headers["Content-Type"]
        except HTTPError as error:
            raise Raised({"code": error.code, "tags": ["HttpError"], "body": json.loads(error.read())}) from None
        return {"code": 200, "body": json.loads(content) if kind == "application/json" else content}

    def value(self, value: Any) -> Any:
        """A value with its expressions evaluated."""
        if isinstance(value, dict):
            return {name: self.value(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.value(each) for each in value]
        if isinstance(value, str) and value.startswith("${"):
            return eval(value.removeprefix("${").removesuffix("}"), {"__builtins__": {}}, self._names())
        return value

    def _names(self) -> dict[str, Any]:
        """Variables and the standard library."""
        kinds = {dict: "map", Map: "map", list: "list", str: "string", bytes: "bytes", int: "integer"}
        library = {
            "sys": SimpleNamespace(get_env=lambda name: self.environment[name]),
            "map": SimpleNamespace(get=lambda value, key: value.get(key)),
            "json": SimpleNamespace(decode=lambda text: mapped(json.loads(text))),
            "text": SimpleNamespace(url_encode=lambda text: quote(text, safe="")),
            "default": lambda value, other: other if value is None else value,
            "get_type": lambda value: kinds[type(value)],
        }
        return library | self.variables


def execute(path: Path, argument: dict[str, Any], url: str, execution: str = "e1") -> tuple[Any, Run]:
    """Run a workflow: what it returns, and the run. Raises Raised where it fails."""
    main = read_workflow(path)
    environment = {"GOOGLE_CLOUD_PROJECT_ID": "some-project", "GOOGLE_CLOUD_WORKFLOW_EXECUTION_ID": execution}
    run = Run(url, {main["params"][0]: mapped(argument)}, environment)
    found = run.steps(main["steps"])
    return found.value if isinstance(found, Answer) else None, run
