"""First stage: reads raw data. One file or small folder per raw format."""
