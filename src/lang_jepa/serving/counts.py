"""Metrics of the server, in the text format of Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Counts:
    """The metrics of one server.

    Attributes:
        waiting: number of requests that wait for the model.
    """

    def __init__(self) -> None:
        self._all = CollectorRegistry()
        register = self._all
        names = ("path", "method", "status")
        self._requests = Counter("lang_jepa_requests", "Requests answered.", names, registry=register)
        self._seconds = Histogram(
            "lang_jepa_request_seconds", "Time to answer a request.", ("path",), buckets=_SECONDS, registry=register
        )
        self._batches = Histogram(
            "lang_jepa_batch_requests", "Requests encoded together.", buckets=_SIZES, registry=register
        )
        self._texts = Counter("lang_jepa_texts_encoded", "Texts encoded for /v1/embeddings.", registry=register)
        self.waiting = Gauge("lang_jepa_queue_length", "Requests that wait for the model.", registry=register)

    def request(self, path: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request; `path` and `method` come from fixed lists, or are "other"."""
        self._requests.labels(path, method, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def batch(self, *, requests: int, texts: int) -> None:
        """Count one call of the encoder."""
        self._batches.observe(requests)
        self._texts.inc(texts)

    def text(self) -> bytes:
        """Return all metrics, as `GET /metrics` serves them."""
        return generate_latest(self._all)
