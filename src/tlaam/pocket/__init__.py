"""The page in the pocket: static files that find, zoom, name and show why, without a server."""
