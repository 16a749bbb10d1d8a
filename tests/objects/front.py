"""What stands before the stores' API: faults, counters, and what a test asks the server itself."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tests.objects.api import OWN, Answer, Api, Request
from tests.objects.buckets import Bucket, Buckets, Folder, Memory
from tests.objects.counters import Counters
from tests.objects.faults import Dice, Faults

UNAVAILABLE = b"<Error><Code>ServiceUnavailable</Code><Message>asked for by a test</Message></Error>"


@dataclass(frozen=True)
class Settings:
    """What can be changed while the server runs."""

    delay_ms: float = 0.0
    """Time from the last byte of a request to the first byte of its answer; any number of requests wait at once."""
    page: int = 1000
    """Most keys in one answer of a listing."""
    part_min: int = 5 * 2**20
    """Least bytes of every part of an upload but the last, as the stores demand it."""
    faults: Faults = field(default_factory=Faults)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Settings:
        """From what `asdict` gave, through JSON."""
        faults = values.get("faults", {})
        return cls(**values | {"faults": Faults(**faults | {"kinds": tuple(faults.get("kinds", ()))})})


@dataclass
class Front:
    """One server's state."""

    api: Api
    settings: Settings = field(default_factory=Settings)
    counters: Counters = field(default_factory=Counters)
    dice: Dice = field(default_factory=lambda: Dice(Faults()))
    in_flight: int = 0

    @classmethod
    def start(cls, place: Memory | Folder, buckets: list[str], denied: list[str], settings: Settings) -> Front:
        """With empty buckets, and what is in the folder."""
        made = cls(Api(Buckets(place, {name: Bucket() for name in (*buckets, *denied)}), frozenset(denied)))
        made.api.buckets.load()
        made.set(settings)
        return made

    def set(self, settings: Settings) -> None:
        """Change settings; every request is new to the dice."""
        self.settings, self.dice = settings, Dice(settings.faults)
        self.api.page, self.api.part_min = settings.page, settings.part_min

    def arrive(self, request: Request) -> None:
        """A request is there, whole."""
        if request.is_own:
            return
        self.in_flight += 1
        counters = self.counters
        counters.most_in_flight = max(counters.most_in_flight, self.in_flight)
        counters.requests[request.kind] += 1
        counters.bytes_in += len(request.body)
        if request.kind == "list":
            counters.listed[f"{request.bucket}/{request.query.get('prefix', '')}"] += 1

    def leave(self, request: Request) -> None:
        """Its answer is on the way, or never will be."""
        self.in_flight -= not request.is_own

    def answer(self, request: Request) -> Answer | None:
        """The answer of the stores or of a fault; None: reset the connection."""
        fault = self.dice.draw(request.kind, request.name, self.api.identity(request))
        answer = self._faulty(request, fault)
        self._count(request, fault, answer)
        return answer

    def _faulty(self, request: Request, fault: str | None) -> Answer | None:
        answer = Answer(200) if fault in ("reset", "unavailable") else self.api.answer(request)
        if fault in ("reset", "done_reset"):
            return None
        if fault in ("unavailable", "done_unavailable"):
            return Answer(503, body=b"" if request.method == "HEAD" else UNAVAILABLE)
        return replace(answer, is_cut=True) if fault else answer

    def _count(self, request: Request, fault: str | None, answer: Answer | None) -> None:
        counters = self.counters
        counters.answers[str(answer.status) if answer else "none"] += 1
        if fault:
            counters.faults[fault] += 1
        if answer:
            counters.bytes_out += answer.to_send
            if answer.file:
                counters.keys_read[request.name] += 1

    def own(self, request: Request) -> Answer:
        """Answer what only a test asks; it is neither counted nor late nor faulty."""
        what, _, rest = request.path.removeprefix(OWN).partition("/")
        match request.method, what:
            case _, "object":
                return replace(self.api, denied=frozenset()).answer(_without(request))
            case "PUT", "settings":
                self.set(Settings.of(json.loads(request.body)))
                return _json(asdict(self.settings))
            case "GET", "counters":
                return _json(self.counters.values())
            case "DELETE", "counters":
                self.counters = Counters()
                return _json(None)
            case "GET", "uploads":
                return _json([each.key for each in self.api.buckets.uploads.values() if each.bucket == rest])
            case "GET", "objects":
                told = self.api.buckets.bucket(rest).page(request.query.get("prefix", ""), "", "", 2**62).objects
                return _json({key: [value.size, value.etag, value.generation] for key, value in told})
        return Answer(404)


def _without(request: Request) -> Request:
    return Request(request.method, request.target.removeprefix(f"{OWN}object"), request.headers, request.body)


def _json(value: object) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, json.dumps(value).encode())
