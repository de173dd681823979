"""What is measured: how often answers are right, how often nobody needs to look, and what that costs."""
