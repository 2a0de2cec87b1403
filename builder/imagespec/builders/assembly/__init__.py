"""What the daemonless builder is made of: stores, base images, wheels to layers, sources to layers, and the push."""
