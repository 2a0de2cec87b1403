"""flytekit's own tags, told without flytekit, and the images that stand under them."""
