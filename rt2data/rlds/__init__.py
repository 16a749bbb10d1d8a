"""Prepared sources written back as episodes: RLDS in TFDS directories, without TensorFlow.

decide (decide.py, index.py, skins.py) -> regroup rows by episode (regroup.py) -> write shards (shard.py, episode.py)
-> seal (manifest.py)
"""
