"""The page as a browser shows it: quiet, whole, readable on any screen and by anybody, and safe. Images of it are kept.

`make browser` brings what is needed besides Chromium itself. Screenshots lie in tests/look/report/browser/shots afterwards.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from rt2data.look.report.gather import mixture_report
from rt2data.look.report.page import MAX_BYTES, Report, page
from rt2data.look.stats.run import take_stats
from rt2data.look.stats.subject import mixture_subject
from tests.look.report import made
from tests.look.report.test_page import texts

HERE = Path(__file__).parent / "browser"
SHOTS = HERE / "shots"
THEMES, WIDTHS = ("light", "dark"), (1280, 390)


def browser() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def missing() -> str:
    """Why there is nothing to test with."""
    if not shutil.which("node"):
        return "node is not installed"
    if not all((HERE / "node_modules" / name).is_dir() for name in ("playwright-core", "axe-core")):
        return "playwright-core and axe-core are not there: make browser"
    return "" if browser() else "Chromium is not installed"


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]


def look(html: bytes, name: str, themes: tuple[str, ...] = THEMES, widths: tuple[int, ...] = WIDTHS) -> dict[str, Any]:
    """Open a page in themes and widths; what was met."""
    SHOTS.mkdir(exist_ok=True)
    file = SHOTS / f"{name}.html"
    file.write_bytes(html)
    words = [
        "node",
        str(HERE / "look.mjs"),
        str(file),
        str(SHOTS),
        name,
        ",".join(themes),
        ",".join(map(str, widths)),
        browser() or "",
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def reported(out: Path, scratch: Path) -> Report:
    return mixture_report(take_stats(mixture_subject(out, scratch)), out, None, 12)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mixture that `make demo` makes."""
    from rt2data.build import Site, build_plainly
    from rt2data.demo.write import write_demo
    from rt2data.plan.recipe import read_recipe

    folder = tmp_path_factory.mktemp("demo")
    write_demo(folder / "demo", 24, 150, 0)
    build_plainly(read_recipe(folder / "demo" / "mixture.yaml"), Site(folder / "mixture"))
    return folder / "mixture"


@pytest.fixture(scope="module")
def pages(
    demo: Path,
    mixture: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], dict[str, Any]]:
    """What was met on a page, each opened once."""
    scratch = tmp_path_factory.mktemp("scratch")

    def make(name: str) -> bytes:
        match name:
            case "demo":
                return page([reported(demo, scratch)])
            case "real":
                return page([reported(mixture("webdataset"), scratch)])
            case "pair":
                return page([made.report(), made.report(made.stats(path="store", what="store", mixture=None, warnings=()))])
        return page([made.report(texts(made.stats(), words), words) for words in made.HOSTILE])

    @cache
    def met(name: str) -> dict[str, Any]:
        html = make(name)
        assert len(html) < MAX_BYTES
        return look(html, name, ("light",), (390,)) if name == "hostile" else look(html, name)

    return met


NAMES = ("demo", "real", "pair", "hostile")


@pytest.fixture(params=NAMES)
def met(request: pytest.FixtureRequest, pages: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    return pages(request.param)


def test_it_is_quiet_and_asks_nothing_of_a_network(met: dict[str, Any]) -> None:
    assert met["console"] == [] and met["requests"] == []


def test_it_was_opened_in_both_themes(met: dict[str, Any]) -> None:
    opened = {(view["theme"], view["width"]) for view in met["views"]}
    assert opened in (set(product(THEMES, WIDTHS)), {("light", 390)})


def test_all_images_are_there(met: dict[str, Any]) -> None:
    for view in met["views"]:
        assert view["images"] > 5 and view["broken"] == 0


def test_everybody_can_read_it(met: dict[str, Any]) -> None:
    for view in met["views"]:
        assert view["axe"].get("passes", 0) > 20, view["axe"]
        assert view["axe"]["violations"] == [], (view["theme"], view["width"])


def test_nothing_sticks_out_sideways(met: dict[str, Any]) -> None:
    for view in met["views"]:
        assert view["overflow"] <= 0 and view["wide"] == [], (view["theme"], view["width"])


def test_tables_sort_by_mouse_and_by_keyboard(met: dict[str, Any]) -> None:
    for view in met["views"]:
        assert view["before"]["state"] == "none"
        up, down = view["clicked"], view["pressed"]
        assert (up["state"], down["state"]) == ("ascending", "descending")
        assert up["values"] == sorted(view["before"]["values"])
        assert down["values"] == sorted(view["before"]["values"], reverse=True)


def test_cost_is_reckoned_anew(met: dict[str, Any]) -> None:
    for view in met["views"]:
        before, one_by_one, wrong = view["steps"]
        count = int(one_by_one.replace(",", ""))
        assert int(before.replace(",", "")) == -(-count // 256) and wrong == "–"


def test_nothing_of_the_data_runs(met: dict[str, Any]) -> None:
    for view in met["views"]:
        assert view["hurt"] is None and view["handlers"] == 0 and view["links"] == []
        assert view["scripts"] == 2


def test_it_prints_light_and_without_what_sticks(met: dict[str, Any]) -> None:
    assert met["print"] == {"ground": "#fff", "sticky": 0}


def test_it_is_whole_without_scripts(met: dict[str, Any]) -> None:
    assert met["still"]["tables"] > 10 and met["still"]["buttons"] == 0
