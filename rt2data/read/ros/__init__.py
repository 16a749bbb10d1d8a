"""Logs of ROS 1 and ROS 2, and MCAP: messages by topic, each at its own times."""
