"""fastrr: copy what changed to many hosts and start programs there, in order, inside screen."""

__version__ = "0.1.0"
