"""What is where: looking, comparing, copying."""
