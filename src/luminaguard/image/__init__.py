"""The guest image: kernel, root file system and initial RAM disk, from the host's packages."""
