"""`rt2data init`: a commented starter recipe, or a complete one for the given data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from rt2data.cli.console import say_json, table, talk
from rt2data.errors import UsageError, command
from rt2data.io import location
from rt2data.io.installation import schemas
from rt2data.io.publish import require_writable
from rt2data.read.text import one_line

SCHEMA = "recipe.schema.json"
_STARTER = """\
# yaml-language-server: $schema={schema}
# What to mix, and how. Preview the result with:  rt2data plan {name}
# Relative paths are relative to this file. Override a value for one run with:  --set size.num_examples=1000

robot_frac: 0.5           # fraction of examples that are robot steps: 0.5, 2/3, 50%  (RT-2 used about 0.5 and 2/3)
size: {{epochs: 1, of: longest}}
                          # longest: every row of every source is used; shortest: no row repeats; or the name of
                          # a source. Or a fixed number of examples: {{num_examples: 100000}}
seed: 0                   # decides all order; the same seed gives the same bytes
split: train              # which rows are drawn: train, val, or a split of the sources
weighting: rows           # rows: weight x number of rows, as in the Open X mixtures; share: weight alone

tokenizer: byte           # byte, or the path of a tokenizer.json or .model; never downloaded
template: rt2             # how instructions and questions become prompts: rt2 or openvla
codec: rt2                # how actions become text: rt2, openvla, or rt1 (rt2 decoded as RT-1 does)
max_tokens: null          # reject longer examples (nothing is truncated); null: no limit

shards: {{bytes: 256MB, format: webdataset}}
                          # materialize: once writes each row once per source, with repeats as weights (webdataset, mds)
store: null               # folder of prepared stores; null: $RT2DATA_STORE, or rt2data/store in the user's cache
compact: auto             # copy images into the store in the order of its rows: auto (more than 2e7 in a bucket), never, spill
max_bad: 2%               # faulty rows allowed in a source; with more, nothing is published
max_epochs: null          # fail if a source would repeat more often than this

robot:                    # robot logs, by any name
  {robot}:
    kind: rlds            # a TFDS dataset: the folder with dataset_info.json
    path: {path}
    action_space: {action_space}
                          # what the numbers mean: a name known to `rt2data schema`, or your own .toml
    weight: 1             # relative to the other robot sources; 0 excludes it
    holdout: 0            # fraction of episodes held out as split val, by hash
    images: {{resize: null}} # null copies images byte for byte; 224 resizes them to 224 x 224
    filters:
      min_steps: 2        # drop shorter episodes
      drop_last: auto     # drop the last step if its action is undefined

web:                      # images with questions, by any name
  {web}:
    kind: vqav2
    questions: {questions}
    annotations: {annotations}
    image_dirs: [{image_dir}]
    answers: majority     # the most common answer; sample: one of them, by seed; all: one row per distinct answer
    weight: 1
    holdout: 0            # fraction of images held out as split val, by hash
"""


def starter(
    *,
    name: str = "mixture.yaml",
    robot: str = "bridge",
    path: str = "path/to/bridge_dataset/1.0.0",
    action_space: str = "widowx_bridge",
    web: str = "coco",
    questions: str = "path/to/v2_OpenEnded_mscoco_train2014_questions.json",
    annotations: str = "path/to/v2_mscoco_train2014_annotations.json",
    image_dir: str = "path/to/train2014",
) -> str:
    """A valid recipe with one robot log and one VQA corpus, in YAML, with every setting explained."""
    paths = {"path": path, "questions": questions, "annotations": annotations, "image_dir": image_dir}
    quoted = {key: json.dumps(value, ensure_ascii=False) for key, value in paths.items()}
    return _STARTER.format(name=quote(name), schema=SCHEMA, robot=robot, action_space=action_space, web=web, **quoted)


def init(path: Path, force: bool = False, as_json: bool = False) -> None:
    """Write the starter recipe, and its schema next to it for editors; print the next step.

    Raises UsageError if the file exists and `force` is not given, OutputError if it cannot be written.
    """
    schema = _write(path, starter(name=path.name), force)
    if as_json:
        say_json({"recipe": str(path), "schema": str(schema)})
    talk(f"wrote {path}: set your paths, then run {command('plan', path)}")


def init_from(data: Sequence[Path], path: Path, force: bool = False, as_json: bool = False) -> None:
    """Write a recipe for everything found at these paths, and report it. Raises as `init` does, and UsageError if there is no
    data.
    """
    from rt2data.look.inspect.found import find, recipe_of

    require_writable(path, force=force)
    found = find([location.absolute(each) for each in data])
    schema = _write(path, recipe_of(found, SCHEMA), force)
    if as_json:
        each = [{"path": str(f.path), "kind": f.kind, "name": f.name, "action_space": f.space, "not_read": f.what} for f in found]
        say_json({"recipe": str(path), "schema": str(schema), "found": each})
    else:
        rows = [[one_line(f.path.name), f.kind, f.name, f.space] for f in found if f.side]
        table(["path", "kind", "name", "action space"], rows, left=4, drop=["path"])
        for other in (other for other in found if not other.side):
            talk(f"not read: {one_line(str(other.path), 1000)}: {one_line(other.what, 1000)}")
    talk(f"wrote {path}")


def _write(path: Path, text: str, force: bool) -> Path:
    """Write a recipe, and the schema that it refers to by a relative path, so that both can be moved or committed together."""
    require_writable(path, force=force)
    location.write_whole(path, text.encode())
    schema = path.with_name(SCHEMA)
    if force or not location.exists(schema):
        location.write_whole(schema, location.read_bytes(schemas() / SCHEMA))
    return schema


def new_space(data: Path, out: Path, name: str | None, force: bool = False, as_json: bool = False) -> None:
    """Write an action space for a robot log. Raises UsageError if there is no log, or the file exists and `force` is not given."""
    from rt2data.look.inspect.raw import InspectedSource, recognize_source
    from rt2data.look.inspect.spaces import new_space as text_of

    require_writable(out, force=force)
    found = recognize_source(location.absolute(data))
    if not isinstance(found, InspectedSource) or not found.source.has_actions:
        raise UsageError("no robot log is here", str(data), "see what it is: rt2data inspect")
    location.write_whole(out, text_of(name or out.stem, found.source, found.facts()).encode())
    if as_json:
        say_json({"action_space": str(out)})
    talk(f"wrote {out}: complete what the data cannot say, and name it in a recipe: action_space: {out}")
