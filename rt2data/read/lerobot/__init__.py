"""LeRobot: episodes as rows of Parquet files, and cameras as videos or as columns of images."""
