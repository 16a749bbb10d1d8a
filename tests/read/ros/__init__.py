"""Tests of the reader of ROS logs."""
