"""Engines that carry out the work orders of a build: this process, Ray or Spark."""
