"""Speed and memory beside other libraries: the same work, in turns, in one process. `python -m bench.speed --help`."""
