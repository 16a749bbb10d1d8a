"""Statistics of sources, stores, recipes and mixtures: work orders, sums, summary, warnings."""
