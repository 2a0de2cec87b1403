"""Side-by-side benchmarks: ``python -m bench [--only PART] [--out FILE] [--quick]``."""
