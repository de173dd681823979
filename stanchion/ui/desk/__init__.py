"""The desk: where reviews are answered by keyboard, each key bound in the browser to the case on the screen."""
