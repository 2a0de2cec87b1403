"""Files that ``requirements`` may name, as values: requirements.txt, locks, and what lies beside each."""
