"""Putting an exported model on the hub."""

import re
from pathlib import Path

from lang_jepa.errors import LangJepaError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_name(name: str) -> None:
    """Raise unless `name` is `owner/model`; asks nobody.

    Raises:
        LangJepaError: it is not.
    """
    if not _NAME.fullmatch(name):
        raise LangJepaError(f"'{name}' is no name on the hub: write owner/model")


def push(folder: Path, name: str, *, private: bool) -> str:
    """Upload a folder, making the repository if it is not there; returns its address.

    Args:
        folder: an export.
        name: `owner/model`.
        private: of a repository that is made now.

    Raises:
        LangJepaError: no network, no login, or no right to write there.
    """
    check_name(name)
    from huggingface_hub import HfApi, errors

    from lang_jepa.hub import transport_errors

    trouble: tuple[type[BaseException], ...] = (
        errors.OfflineModeIsEnabled,
        errors.HFValidationError,
        OSError,
        *transport_errors(),
    )
    api = HfApi()
    try:
        address = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Export from LANG-JEPA")
    except trouble as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LangJepaError(
            f"{folder} could not be uploaded to {name} ({reason}). The export itself is finished. Log in with "
            "'hf auth login', check the name and the network; --dry-run shows what would be uploaded."
        ) from error
    return str(address)
