"""The demo, `python -m aioconcurrent demo`: a Django app that is a small shop, and what shows it racing."""
