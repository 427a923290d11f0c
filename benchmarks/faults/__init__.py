"""Everything that can go wrong with a run or a file, made to go wrong, and counted: `python -m benchmarks.faults`."""
