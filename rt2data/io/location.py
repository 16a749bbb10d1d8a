"""Every path that enters passes here: only files of this machine are read and written, and a path with a scheme says otherwise.

`pathlib` takes `gs://bucket/x` for a folder `gs:` below the current one, so nothing else would notice.
"""

from __future__ import annotations

import re
from pathlib import Path

from rt2data.errors import UsageError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/.*)?", re.DOTALL)
"""Two letters at least, so that a drive letter is none; one slash will do, for that is what pathlib leaves of two."""

_ADVICE = {
    "gs": "copy it with `gcloud storage cp -r`, or mount the bucket with gcsfuse, and give a local path",
    "s3": "copy it with `aws s3 cp --recursive`, or mount the bucket with mount-s3, and give a local path",
    "hf": "download it with `hf download`, and give a local path",
    "http": "download it, and give a local path",
    "https": "download it, and give a local path",
    "az": "copy it with azcopy, or mount the container with blobfuse2, and give a local path",
    "abfs": "copy it with azcopy, or mount the container with blobfuse2, and give a local path",
    "abfss": "copy it with azcopy, or mount the container with blobfuse2, and give a local path",
    "hdfs": "copy it with `hdfs dfs -get`, or mount it, and give a local path",
}


def local_path(path: str | Path) -> Path:
    """The same path. Raises UsageError for one that has a scheme: gs://, s3://, hf://, https://, file:// or any other."""
    found = _SCHEME.fullmatch(str(path))
    if found is None:
        return Path(path)
    scheme, rest = found[1].lower(), (found[2] or "").lstrip("/")
    do = f"write the path itself: /{rest}" if scheme == "file" else _ADVICE.get(scheme, "copy or mount it, and give a local path")
    where = f"{scheme}://{'/' if scheme == 'file' else ''}{rest}"
    raise UsageError(f"{scheme}:// is not supported: only local files are read and written", where, do)
