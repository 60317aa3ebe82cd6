"""Refused requests: the status, and a body in OpenAI's error format."""

from typing import Any

from lang_jepa.errors import LangJepaError, visible

RETRY_AFTER = 1
"""Seconds after which a client may retry a request that was answered with 503."""
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 500: "server_error"}


class Refused(LangJepaError):
    """A request that is refused.

    Args:
        status: HTTP status, 400 or more.
        message: what is wrong, and what to do.
        param: name of the field that is wrong.
        code: a word by which programs can tell errors apart.
    """

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    @property
    def body(self) -> dict[str, Any]:
        """The response body: `{"error": {"message", "type", "param", "code"}}`."""
        kind = _TYPES.get(self.status, "overloaded_error" if self.status == 503 else "invalid_request_error")
        about = {"type": kind, "param": self.param and visible(self.param), "code": self.code}
        return {"error": {"message": visible(str(self)), **about}}

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with the status."""
        if self.status == 503:
            return {"Retry-After": str(RETRY_AFTER)}
        return {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}


class CannotDo(Refused):
    """A request that this model cannot answer although another could; the message says what is needed."""

    def __init__(self, message: str) -> None:
        super().__init__(409, message, code="not_possible_with_this_model")
