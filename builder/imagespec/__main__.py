"""``python -m imagespec`` is the command ``imagespec``."""

from __future__ import annotations

from imagespec.cli import main

if __name__ == "__main__":
    main()
