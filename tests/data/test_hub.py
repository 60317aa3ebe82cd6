"""When the hub library is switched to offline mode, and when it must be left alone."""

import os

import pytest

from lang_jepa.data.sources.hub import go_offline_if_unreachable

NOWHERE = "https://hub.invalid"  # a top-level domain that is reserved for never being resolved


@pytest.mark.parametrize(
    ("variables", "offline"),
    [
        ({"HF_ENDPOINT": NOWHERE}, True),
        ({"HF_ENDPOINT": NOWHERE, "HF_HUB_OFFLINE": "0"}, True),
        ({"HF_ENDPOINT": "http://127.0.0.1:8080"}, False),
        ({"HF_ENDPOINT": NOWHERE, "HTTPS_PROXY": "http://127.0.0.1:3128"}, False),
        ({"HF_ENDPOINT": "http://127.0.0.1:8080", "HF_HUB_OFFLINE": "1"}, True),
    ],
)
def test_offline_only_where_the_name_is_not_found(
    variables: dict[str, str], offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_ENDPOINT", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "")  # so that the function's own change is undone, too
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert go_offline_if_unreachable() is offline
    assert (os.environ["HF_HUB_OFFLINE"] == "1") is offline
