"""Wheels as values: what is in one, where its files belong, and which one a target takes. No input or output here."""
