"""Facts about LeRobot datasets, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping

FOUND = "lerobot."
"""Prefix of the names of facts about LeRobot datasets."""
WORDS: Mapping[str, str] = {
    "total_episodes_differs": "info.json counts other episodes than there are",
    "total_frames_differs": "info.json counts other frames than the episodes listed in meta have",
    "data_path_differs": "files are not where info.json says",
    "version_differs": "files are laid out for another version than info.json says",
    "shape_differs": "features have other shapes than info.json says",
    "unknown_splits": "splits in info.json are no ranges of episodes, and are left out",
    "episodes_without_data": "episodes are listed in meta, and have no data",
    "unlisted_episodes": "episodes have data, and are not listed in meta",
    "episodes_in_no_split": "episodes are in no split of info.json, and are read as train",
    "length_differs": "episodes have another length than meta says",
    "episode_index_differs": "files hold another episode than they are named for; their names are believed",
    "fps_differs": "episodes have another rate than info.json says, by their timestamps",
    "no_timestamps": "episodes have no timestamps: steps are counted at the rate of info.json",
    "timestamps_not_rising": "steps have a time that is not after that of all before them",
    "timestamp_gaps": "steps come later than one and a half periods after the one before",
    "frame_index_differs": "episodes whose frame_index does not count from 0 on",
    "done_inside": "steps are marked as done before their episode ends",
    "steps_of_unknown_tasks": "steps have a task that is not in the table of tasks, and so no words",
    "video_starts_late": "videos show their first frame later than at 0 s, so that the first steps have none",
    "video_frames_differ": "videos have another number of frames than their episode has steps",
}
"""The rest of the names, and their meaning."""
