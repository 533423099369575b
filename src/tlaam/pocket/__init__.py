"""The pocket page: static files that find, zoom in on and name objects and show why, without a server."""
