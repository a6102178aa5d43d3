"""The benchmark: fastrr beside what people use instead. See `benchmark.run`."""
