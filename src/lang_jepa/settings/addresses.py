"""Addresses of files elsewhere, `s3://bucket/folder`; one that carries a password or a signature is never kept."""

import re
from urllib.parse import parse_qsl, urlsplit

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
"""Scheme, and the rest."""
_SECRET = re.compile(r"sig$|signature|token|secret|passw|credential|auth|api_?-?key|access_?-?key|^key$", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/\s@]+@")
_PARAMETER = re.compile(r"(?<=[?&])([^=&\s]+)=[^&\s'\"]*")
_OWN_WAYS = (
    "the environment, ~/.aws or the machine's role for s3://, `gcloud auth application-default login` for gs://, `hf "
    "auth login` for hf://; what only a signed https:// address opens has to be downloaded first"
)


def refuse_secret(address: str) -> str:
    """The address, unless it carries a secret; settings are saved, and they are shown.

    Raises:
        ValueError: a user or password, or a parameter named like a signature, key or token; the message has neither.
    """
    if ADDRESS.fullmatch(address) is None:
        return address
    parts = urlsplit(address)
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if _SECRET.search(name)]
    carries = "a user or a password" if "@" in parts.netloc else f"the parameter {names[0]}" if names else None
    if carries is None:
        return address
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    raise ValueError(
        f"{where} comes with {carries}, which would be written into settings and logs: leave it out. Credentials are "
        f"found by the libraries' own ways: {_OWN_WAYS}"
    )


def without_secrets(text: str) -> str:
    """A text with `***` in the place of what `refuse_secret` refuses.

    >>> without_secrets("s3://me:pw@bucket/a https://host/a?X-Amz-Signature=f00&b=1")
    's3://***@bucket/a https://host/a?X-Amz-Signature=***&b=1'
    """
    hidden = _PARAMETER.sub(lambda found: f"{found[1]}=***" if _SECRET.search(found[1]) else found[0], text)
    return _USER.sub("***@", hidden)
