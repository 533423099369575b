"""Refusals: requests or images that are not served, and their error messages."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """A request, or one of its images, that is not served.

    Attributes:
        status: HTTP status code.
        code: error code for programs; docs/serving.md lists them.
        message: message for people.
        retry_after: seconds after which to try again; None if trying again would not help.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after

    def to_dict(self) -> dict[str, Any]:
        """Return the body of the response."""
        return {"error": {"code": self.code, "message": self.message}}

    @property
    def headers(self) -> dict[str, str]:
        """Return the response headers that only refusals have."""
        found = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return {**found, "Connection": "close"} if self.status == 408 else found


def busy(retry_after: int, why: str = "more images are waiting than this server takes") -> Refusal:
    """Return the refusal of an overloaded server."""
    return Refusal(503, "busy", f"Busy: {why}. Try again in {retry_after} s.", retry_after)
