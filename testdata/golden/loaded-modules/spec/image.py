"""Imports decide what is copied."""

from imagespec import ImageSpec

import shop.orders

image = ImageSpec(name="loaded", source_root=".", packages=["humanize"])
