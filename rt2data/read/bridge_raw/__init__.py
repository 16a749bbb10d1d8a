"""BridgeData as it was recorded: folders of pickles and images."""
