"""What lies on the disk below a folder: which of it is selected, by which rules, and the digests of its content."""
