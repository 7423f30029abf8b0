"""What an image gets beyond the distribution's packages: never run on the host."""
