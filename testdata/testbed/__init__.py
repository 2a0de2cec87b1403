"""The test-bed: a Docker engine, two registries and base images, without Docker Hub. See README.md."""
