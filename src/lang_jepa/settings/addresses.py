"""Addresses of remote files such as `s3://bucket/folder`; those with a password or a signature are never saved."""

import re
from urllib.parse import parse_qsl, urlsplit

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
"""Scheme, and the rest."""
_PLAIN = frozenset(["download", "raw", "export", "format", "id", "alt", "versionid", "rev", "revision", "branch", "dl"])
"""Query parameters that grant no access; any other one may be a secret, whatever its name."""
_MISTYPED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/?[^/\s:@]+:[^/\s@]+@", re.DOTALL)
_USER = re.compile(r"(?<=://)[^/\s@]+@")
_PARAMETER = re.compile(r"(?<=[?&])([^=&\s]+)=[^&\s'\"]*")
_OWN_WAYS = (
    "the environment, ~/.aws or the machine's role for s3://, `gcloud auth application-default login` for gs://, `hf "
    "auth login` for hf://; files behind a signed https:// address must be downloaded first"
)


def refuse_secret(address: str) -> str:
    """Return the address unless it carries a secret, since settings are saved and shown.

    Raises:
        ValueError: the address has a user or password, a parameter not known to be harmless, or a fragment; the
            message repeats none of it.
    """
    if ADDRESS.fullmatch(address) is None:
        if _MISTYPED.match(address):
            raise ValueError(
                "this looks like an address with a password but is not a valid one: write s3://..., https://..."
            )
        return address
    parts = urlsplit(address)
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if not _is_plain(name)]
    carries = "a user or a password" if "@" in parts.netloc else f"the parameter {names[0]}" if names else None
    carries = carries or ("something behind #" if parts.fragment else None)
    if carries is None:
        return address
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    raise ValueError(
        f"{where} comes with {carries}, which would be written into settings and logs: leave it out. Credentials are "
        f"found by the libraries' own ways: {_OWN_WAYS}"
    )


def _is_plain(name: str) -> bool:
    return name.lower() in _PLAIN


def without_secrets(text: str) -> str:
    """Replace whatever `refuse_secret` refuses with `***`.

    >>> without_secrets("s3://me:pw@bucket/a https://host/a?X-Amz-Signature=f00&raw=1")
    's3://***@bucket/a https://host/a?X-Amz-Signature=***&raw=1'
    """
    hidden = _PARAMETER.sub(lambda found: found[0] if _is_plain(found[1]) else f"{found[1]}=***", text)
    return _USER.sub("***@", hidden)
