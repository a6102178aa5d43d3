"""The steps of a run on one host: what a worker does between a request and its answer."""
