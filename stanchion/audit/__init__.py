"""What is tried out on a workflow before production tries it: drills, in which everything around it fails."""
