"""A small prepared corpus and a tokenizer for the tests of what reads them."""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from texts import text_of, write_rows

from lang_jepa.data.corpus.corpus import Corpus
from lang_jepa.data.corpus.prepare import prepare
from lang_jepa.data.sources import remote, stores
from lang_jepa.data.text.tokenizer import train_tokenizer
from lang_jepa.settings.data import DataSettings
from loopback import Server, proxy


@pytest.fixture(scope="session")
def stories_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Sixty of the built-in stories with a tokenizer of their own, a fifth of them held out."""
    settings = DataSettings(
        train_file="stories",
        tokenizer_path="trained",
        vocab_size=600,
        limit=60,
        val_fraction=0.2,
        corpus_dir=str(tmp_path_factory.mktemp("corpora")),
        prepare_workers=1,
    )
    return prepare(settings)


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([text_of(number) for number in range(50)], 400).save(folder)
    return folder


@pytest.fixture
def settings_for(tokenizer_folder: Path, tmp_path: Path) -> Callable[..., DataSettings]:
    """Settings over a file of texts, in a corpus folder of this test."""

    def make(texts: Iterable[str] | Path, **options: object) -> DataSettings:
        file = texts if isinstance(texts, Path) else write_rows(tmp_path / "texts.jsonl", texts)
        defaults = {
            "train_file": str(file),
            "tokenizer_path": str(tokenizer_folder),
            "corpus_dir": str(tmp_path / "corpora"),
            "limit": None,
            "prepare_workers": 1,
        }
        return DataSettings(**{**defaults, **options})

    return make


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of 8 KiB at first, and short pauses."""
    monkeypatch.setattr(remote, "FIRST", 1 << 13)
    monkeypatch.setattr(remote, "MOST", 1 << 17)
    monkeypatch.setattr(stores, "PAUSES", (0.01, 0.02, 0.02))
    monkeypatch.setattr(stores, "SECONDS", 2.0)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[Server]:
    """A real S3 server, without the tries that s3fs and botocore make by themselves."""
    s3fs = pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    moto = pytest.importorskip("moto.server", reason="moto, an S3 server for tests, is not installed")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 20)  # servers and readers are threads of this process, and wait for each other
    from werkzeug.serving import WSGIRequestHandler  # of moto

    with proxy(running.get_host_and_port()[1]) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "hidden-word",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }.items():
            patch.setenv(name, value)
        patch.setattr(s3fs.S3FileSystem, "retries", 1)
        patch.setattr(WSGIRequestHandler, "disable_nagle_algorithm", True)
        s3fs.S3FileSystem.clear_instance_cache()
        yield server
    s3fs.S3FileSystem.clear_instance_cache()
    sys.setswitchinterval(before)
    running.stop()


@pytest.fixture
def s3(s3_server: Server) -> Iterator[Server]:
    """An empty bucket `texts`, behind a proxy that does what a test asks for."""
    system = stores.system_of("s3")
    system.mkdir("texts")
    yield s3_server
    s3_server.harm = lambda asked: None
    s3_server.asked.clear()
    system.rm("texts", recursive=True)
