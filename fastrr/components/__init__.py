"""What runs where: starting, watching."""
