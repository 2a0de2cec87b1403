"""``python -m tests.golden.rewrite``: write the golden files anew, after a deliberate change."""

from __future__ import annotations

import json
import sys

from imagespec.plan import RECIPE
from tests.golden import bad
from tests.golden.cases import FOLDER, RECORD, changed_under_a_released_recipe, names, outcome, record_of, recorded


def main() -> int:
    """Write every case; refuse when images would change under a recipe that is out in the world."""
    outcomes = {name: outcome(name) for name in names()}
    digests = {name: one.digest for name, one in outcomes.items()}
    record = recorded() if RECORD.exists() else record_of({}, is_released=False)
    changed = changed_under_a_released_recipe(record, digests, RECIPE)
    if changed:
        print(f"golden: recipe {RECIPE} is released, and {', '.join(changed)} would change under it", file=sys.stderr)
        print("hint: raise RECIPE in plan.py (it re-tags everybody's images), then again", file=sys.stderr)
        return 1
    written = 0
    for name, one in outcomes.items():
        for file, text in one.texts:
            path = FOLDER / name / file
            if not path.exists() or path.read_bytes() != text.encode():
                path.write_bytes(text.encode())
                written += 1
    is_released = record["is_released"] and record["recipe"] == RECIPE
    RECORD.write_text(json.dumps(record_of(digests, is_released), indent=1) + "\n")
    print(f"golden: {len(outcomes)} cases, {written} files written, {bad.rewrite()} messages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
