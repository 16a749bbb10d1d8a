"""`rt2data init`: a commented recipe to start from."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote

from rt2data.cli.console import say_json, talk
from rt2data.errors import command
from rt2data.io import location
from rt2data.io.installation import schemas
from rt2data.io.publish import require_writable

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
    """A valid recipe of one robot log and one VQA corpus, in YAML, with every setting explained."""
    paths = {"path": path, "questions": questions, "annotations": annotations, "image_dir": image_dir}
    quoted = {key: json.dumps(value, ensure_ascii=False) for key, value in paths.items()}
    return _STARTER.format(name=quote(name), schema=SCHEMA, robot=robot, action_space=action_space, web=web, **quoted)


def init(path: Path, force: bool = False, as_json: bool = False) -> None:
    """Write the starter recipe, and its schema next to it for editors; print the next step.

    The recipe names the schema by a relative path, so that both can be moved or committed together. Raises UsageError where the
    file exists and `force` is not given, OutputError where it cannot be written.
    """
    require_writable(path, force=force)
    location.write_whole(path, starter(name=path.name).encode())
    schema = path.with_name(SCHEMA)
    if force or not location.exists(schema):
        location.write_whole(schema, location.read_bytes(schemas() / SCHEMA))
    if as_json:
        say_json({"recipe": str(path), "schema": str(schema)})
    talk(f"wrote {path}: set your paths, then run {command('plan', path)}")
