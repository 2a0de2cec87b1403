"""Turn a declared ImageSpec into a container image in a registry, and never build the same thing twice."""
