"""Who carries out the work orders of a build: this process, Ray or Spark."""
