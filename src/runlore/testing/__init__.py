"""Contract suites, strategies and naive references for whoever writes a backend."""
