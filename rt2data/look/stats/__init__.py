"""What a source, a prepared store or a mixture looks like in numbers: sums over rows that merge, and their summary."""
