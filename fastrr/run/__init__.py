"""The controller's side of a run."""
