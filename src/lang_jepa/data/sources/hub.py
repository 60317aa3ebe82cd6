"""Hub datasets as a source, and a single check that the hub is reachable, which spares the library's long retries."""

import os
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Self
from urllib.parse import urlparse

from lang_jepa.data.sources import groups
from lang_jepa.data.sources.base import FORMAT, Document, Rejection, Row, Source, identity_of, judge, option, units_of
from lang_jepa.data.sources.parts import WHOLE, Part, Piece
from lang_jepa.errors import LangJepaError, check_extra
from lang_jepa.files.atomic import fingerprint
from lang_jepa.settings.data import DataSettings

_PATIENCE = 3.0
"""Seconds to wait for the name server's answer."""

_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def go_offline_if_unreachable() -> bool:
    """Switch the hub library to offline mode if the hub's name cannot be resolved; returns whether it is offline.

    Must be called before `huggingface_hub` is imported. Cached files still load; anything else fails at once
    instead of after half a minute. Behind a proxy, which resolves names itself, nothing is checked or changed.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return True
    if any(os.environ.get(name) for name in _PROXIES):
        return False
    host = urlparse(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname or ""
    if _resolves(host):
        return False
    os.environ["HF_HUB_OFFLINE"] = "1"
    return True


def _resolves(host: str) -> bool:
    """Whether a host name resolves within `_PATIENCE`."""
    found = threading.Event()

    def resolve() -> None:
        try:
            socket.getaddrinfo(host, 443)
        except OSError:
            return
        found.set()

    thread = threading.Thread(target=resolve, daemon=True)  # a name server may stay silent for a minute
    thread.start()
    thread.join(_PATIENCE)
    return found.is_set()


def transport_errors() -> tuple[type[Any], ...]:
    """Base classes of the HTTP client's errors, found by name, since the hub library has switched clients before."""
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(kind for kind in HfHubHTTPError.__mro__ if kind.__name__ in {"HTTPError", "RequestException"})


FINEWEB_CONFIGS = ("sample-10BT", "sample-100BT", "sample-350BT", "default")
"""Configs of HuggingFaceFW/fineweb-edu that `data.train_file` may give by their name alone."""

TIMEOUT = 15.0
"""Seconds to wait for the hub's first answer."""

_SETTING = tuple(map(option, ("text_column", "group_column", "speaker_column")))
_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?::([^@/\s]+))?(?:@([\w.\[\]:%+-]+))?")
_OFFLINE_CURE = (
    "Without a network, name a local file or folder, or data.train_file=stories; and set data.tokenizer_path to a "
    "folder with tokenizer and weights, or to trained with model.pretrained=false."
)


def parse_hub_name(name: str) -> tuple[str, str | None, str] | None:
    """Repository, config (None: the default) and split of `owner/name[:config][@split]`; None for any other form."""
    match = _NAME.fullmatch(name)
    if match is None or name.startswith("."):
        return None
    return match[1], match[2], match[3] or "train"


@dataclass
class HubSource(Source):
    """One split of one config of a hub dataset, at one revision."""

    name: str = ""
    config: str | None = None
    split: str = "train"
    revision: str = ""

    @classmethod
    def open(cls, settings: DataSettings, name: str, config: str | None, split: str) -> Self:
        """Ask the hub for the dataset's revision; no rows are read.

        Raises:
            LangJepaError: without the extra `hub`, offline, without network, or without access; no such dataset.
        """
        from huggingface_hub import HfApi

        with _explained(name, settings):
            revision = HfApi().dataset_info(name, timeout=TIMEOUT).sha
        where = name + (f":{config}" if config else "") + f"@{split}"
        return cls(settings, f"hub data set {where}", {}, name, config, split, revision or "")

    def fingerprint(self, *, quick: bool = False) -> str:
        """Fingerprint of the name, config, split, revision, text column, and the rules for units and groups."""
        read = [self.settings.text_column, *units_of(self.settings), *groups.rules(self.settings)]
        return fingerprint(["hub", 2, FORMAT, self.name, self.config, self.split, self.revision, *read])

    def read(self, skip: int) -> Iterator[Document | Rejection]:
        """Rows from `skip` on. Identities come from the dataset's `id` column, assumed unique, or are `<name>:<row>`.

        The rows of a group must be adjacent, since a stream is read only once.

        Raises:
            LangJepaError: there is no such config, split or column, rows of a group are not adjacent, or the network
                failed while reading.
        """
        column = self.settings.group_column
        if column is None:
            rows = self._rows(skip)
        else:
            rows = islice(groups.grouped(groups.adjacent(self._rows(0), column), self.settings), skip, None)
        return map(self._judged, rows)

    def parts(self, size: int) -> Sequence[Part]:
        """The shards of the dataset, whatever their size; with groups, which may span shards, the whole dataset."""
        if self.settings.group_column is not None:
            return WHOLE
        with _explained(self.name, self.settings):
            return [(Piece(number, 0, 0, 0),) for number in range(self._data_set().num_shards)]

    def read_part(self, part: Part) -> Iterator[Document | Rejection]:
        if not part:
            return self.read(0)
        return chain.from_iterable(map(self._judged, self._rows(0, piece.file)) for piece in part)

    def _judged(self, row: Row) -> Document | Rejection:
        if row.fault:
            return Rejection(row.fault, row.place)
        return judge(row.id or row.place, row.text, row.place, self.settings, row.left_out)

    def _data_set(self) -> Any:
        from datasets import load_dataset

        return load_dataset(self.name, self.config, split=self.split, revision=self.revision or None, streaming=True)

    def _rows(self, skip: int, shard: int | None = None) -> Iterator[Row]:
        """Rows from `skip` on, of one shard or of all shards."""
        settings = self.settings
        wanted = [settings.text_column, *groups.beside(settings)[:1]]
        wanted += [settings.speaker_column] if settings.speaker_column is not None else []
        with _explained(self.name, settings):
            rows, name = self._data_set(), self.name
            if shard is not None:
                rows, name = rows.shard(rows.num_shards, shard), f"{name}@{shard}"
            rows = rows.skip(skip) if skip else rows
            for number, row in enumerate(rows, start=skip):
                where = f"{name}:{number}"
                if missing := [column for column in wanted if column not in row]:
                    raise LangJepaError(
                        f"hub data set {self.name} has no column '{missing[0]}'; its columns are "
                        f"{', '.join(map(str, row))}. Set {_SETTING[wanted.index(missing[0])]}."
                    )
                own = identity_of(row.get("id")) if settings.text_column != "id" else None
                there = {name: row[name] for name in groups.beside(settings) if name in row}
                yield Row(number, where, own, row[settings.text_column], beside=there)


@contextmanager
def _explained(name: str, settings: DataSettings) -> Iterator[None]:
    """Turn the hub's exceptions into one sentence each: offline, unknown, no access, no network."""
    what = f"data.train_file={settings.train_file}"
    check_extra("hub", f"{what} names a data set of the Hugging Face Hub, which")
    from datasets.exceptions import DatasetsError
    from huggingface_hub import errors

    transport: tuple[type[BaseException], ...] = (OSError, *transport_errors())
    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise LangJepaError(
            f"{what} is a hub data set, but the hub cannot be reached (no network, or HF_HUB_OFFLINE is set). "
            f"{_OFFLINE_CURE}"
        ) from None
    except errors.GatedRepoError as error:
        raise LangJepaError(
            f"{what}: access to {name} has to be granted: accept its terms on its hub page, then run `hf auth login`."
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise LangJepaError(
            f"{what}: the hub has no public data set '{name}'. Check the spelling (owner/name[:config][@split]), "
            "or run `hf auth login` if it is private."
        ) from error
    except (DatasetsError, ValueError) as error:
        raise LangJepaError(
            f"{what} cannot be read: {error}. Check config and split (owner/name:config@split)."
        ) from error
    except transport as error:
        raise LangJepaError(
            f"{what} is a hub data set, but the hub cannot be reached ({error}). Check the network. {_OFFLINE_CURE}"
        ) from error
