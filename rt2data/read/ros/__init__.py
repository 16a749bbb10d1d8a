"""ROS 1, ROS 2 and MCAP logs: messages by topic, with a time each."""
