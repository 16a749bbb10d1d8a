"""URIs that nothing here can open: path_of, with what to do instead."""

from __future__ import annotations

from rt2data.errors import UsageError

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


def refused(scheme: str, rest: str) -> UsageError:
    """The error for `scheme://rest`."""
    do = _ADVICE.get(scheme, "copy or mount it, and give a local path")
    return UsageError(f"{scheme}:// is not supported: only local files are read and written", f"{scheme}://{rest}", do)
