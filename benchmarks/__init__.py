"""Measurements beside what a user would take instead; see README.md. Timings are never tests."""
