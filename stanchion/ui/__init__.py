"""The console: pages in a browser for people who operate and review; `stanchion console` starts it."""
