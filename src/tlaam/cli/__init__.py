"""The command ``tlaam``: each verb parses, calls one function and prints."""
