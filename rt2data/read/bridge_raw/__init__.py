"""BridgeData in its raw recorded form: folders of pickles and images."""
