"""Licences of the sources: valid SPDX expressions, and only those that the recipe allows.

Works on the tree as written, as `cross_checks` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from rt2data.io.words import closest
from rt2data.plan.recipe.groups import KeyPath, Written
from rt2data.plan.recipe.messages import RecipeFinding

OWN = "LicenseRef-"
"""Prefix that SPDX gives to licences not on its list."""


def licence_findings(tree: dict[str, Any], sources: Iterable[Written], drawn: Iterable[Written]) -> Iterator[RecipeFinding]:
    """Expressions that cannot be read, and licences of `drawn` sources that are not allowed."""
    given = {each.path: each.settings.get("license") for each in sources if isinstance(each.settings, dict)}
    faults = {path: found for path, licence in given.items() if isinstance(licence, str) and (found := fault(licence))}
    for path, (message, suggestion) in faults.items():
        yield RecipeFinding((*path, "license"), message, suggestion)
    asked = tree.get("allow_licenses")
    allowed = [each for each in asked if isinstance(each, str)] if isinstance(asked, list | tuple) else []
    wrong = [RecipeFinding(("allow_licenses", at), *found) for at, each in enumerate(allowed) if any(found := _fault_of_one(each))]
    yield from wrong
    if not allowed or wrong:
        return
    for source in drawn:
        if source.path not in faults:
            yield from _not_allowed(source.path, given.get(source.path), allowed)


def _not_allowed(path: KeyPath, licence: Any, allowed: Sequence[str]) -> Iterator[RecipeFinding]:
    if licence is None:
        yield RecipeFinding(path, f"has no `license`, and only {_listed(allowed)} may be used", at_key=True)
    elif isinstance(licence, str) and not permits(licence, allowed):
        yield RecipeFinding((*path, "license"), f"{licence} is not allowed, only {_listed(allowed)}")


def _listed(allowed: Sequence[str]) -> str:
    return ", ".join(allowed)


def fault(expression: str) -> tuple[str, str] | None:
    """What is wrong with an expression, and a suggestion; None if it is valid."""
    from license_expression import ExpressionError

    try:
        found = _parsed(expression)
    except ExpressionError as error:
        return f"is no SPDX expression: {error}", ""
    unknown = [key for key in _spdx().unknown_license_keys(found) if not key.startswith(OWN)]
    if not unknown:
        return None
    return f"{unknown[0]} is not on SPDX's list: for a licence of your own write {OWN}NAME", closest(unknown[0], _known())


def _fault_of_one(licence: str) -> tuple[str, str]:
    """The same for a single licence; empty if nothing is wrong."""
    found = fault(licence)
    if found is None and len(list(_spdx().license_keys(_parsed(licence)))) > 1 and " WITH " not in _parsed(licence).render():
        return "names several licences: list each by itself", ""
    return found or ("", "")


def permits(expression: str, allowed: Sequence[str]) -> bool:
    """Whether the allowed licences satisfy an expression: any side of an OR, all of an AND. Case does not matter."""
    names = {_parsed(each).render() for each in allowed}

    def met(part: Any) -> bool:
        if isinstance(part, _spdx().OR):
            return any(map(met, part.args))
        return all(map(met, part.args)) if isinstance(part, _spdx().AND) else part.render() in names

    return met(_parsed(expression))


@lru_cache(maxsize=256)
def _parsed(expression: str) -> Any:
    """Raises ExpressionError."""
    from license_expression import ExpressionError

    found = _spdx().parse(expression, strict=True)
    if found is None:
        raise ExpressionError("it is empty")
    return found


@lru_cache(maxsize=1)
def _spdx() -> Any:
    """SPDX's list. It is slow to load, so only if a recipe names a licence."""
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


def _known() -> list[str]:
    return [name for name in _spdx().known_symbols if not name.startswith(OWN)]
