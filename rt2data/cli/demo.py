"""`rt2data demo`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Any

from rt2data.beam.pool import Pool, pool_at_work
from rt2data.cli.console import say_json
from rt2data.cli.progress import Progress
from rt2data.demo.write import write_demo
from rt2data.errors import command
from rt2data.io.words import plural, size

NAMES = {"draw_episode": "episodes", "draw_image": "scenes"}


class Drawing(Progress):
    """Counts episodes and scenes as they are drawn; each result is the name of its kind."""

    def begin(self, name: str, total: int) -> None:
        """Start counting up to `total`."""
        self._begin(name, total)

    def _take(self, result: Any) -> None:
        self._count(result, True, 0, 0, 0)


def demo(folder: Path, episodes: int, scenes: int, seed: int, force: bool, workers: int | None, as_json: bool, quiet: bool) -> None:
    """Make the demo and print the next command."""
    progress = Drawing(quiet)
    with pool_at_work("processes", workers) as pool:
        made = write_demo(folder, episodes, scenes, seed, force, draw=lambda work, orders: drawn(pool, progress, work, orders))
    if as_json:
        say_json(asdict(made) | {"folder": str(made.folder)})
        return
    robot = f"{plural(made.episodes, 'episode')} with {plural(made.steps, 'step')}"
    web = f"{plural(made.scenes, 'image')} with {plural(made.questions, 'question')}"
    print(f"{robot}, {web}: {size(made.bytes)} in {folder}")
    print(f"mix it:  cd {quote(str(folder))} && {command('build-mixture', '--robot-frac', '0.5')}")


def drawn(pool: Pool, progress: Drawing, work: Callable[[Any], Any], orders: list[Any]) -> Iterator[Any]:
    """Results in the order of the orders, computed by all workers of the pool."""
    name = NAMES[work.__name__]
    progress.begin(name, len(orders))

    def count(future: Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            progress(name)

    futures = [pool.submit(work, order) for order in orders]
    for future in futures:
        future.add_done_callback(count)
    return (future.result() for future in futures)
