"""POST /v1/embeddings: the vectors of `ConceptModel.encode`, in OpenAI's form, batched or not."""

import base64
import threading
from typing import Any

import numpy as np
import openai
import pytest
from live import Answer, Live, serving

from lang_jepa.inference.gpt import TextGPT
from lang_jepa.inference.model import ConceptModel
from lang_jepa.serving.served import Served

TEXTS = [
    "The cat sat by the door.",
    "Anna went home.",
    "Two birds flew over the river, and Tom saw them from the hill.",
]


def vectors(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    assert [one["index"] for one in answer.body["data"]] == list(range(len(answer.body["data"])))
    return np.array([one["embedding"] for one in answer.body["data"]], dtype=np.float32)


def in_threads(live: Live, bodies: list[Any]) -> tuple[list[threading.Thread], list[Answer]]:
    """Requests that were sent at once, and the list that their answers are put into."""
    answers: list[Any] = [None] * len(bodies)

    def send(number: int) -> None:
        answers[number] = live.post("/v1/embeddings", bodies[number])

    threads = [threading.Thread(target=send, args=(number,)) for number in range(len(bodies))]
    for thread in threads:
        thread.start()
    return threads, answers


def test_vectors_are_those_of_encode(live: Live, run: Any) -> None:
    expected = ConceptModel.load(run).encode(TEXTS)
    answer = live.post("/v1/embeddings", {"input": TEXTS})
    np.testing.assert_allclose(vectors(answer), expected, atol=1e-6)
    one = live.post("/v1/embeddings", {"input": TEXTS[1], "model": "tiny-run"})
    np.testing.assert_allclose(vectors(one), expected[1:2], atol=1e-6)
    assert one.body["model"] == "tiny-run"
    tokens = live.served.tokenize(TEXTS)
    assert answer.body["usage"]["prompt_tokens"] == sum(map(len, tokens)) == answer.body["usage"]["total_tokens"]


def test_base64_holds_the_same_numbers(live: Live) -> None:
    plain = vectors(live.post("/v1/embeddings", {"input": TEXTS, "encoding_format": "float"}))
    coded = live.post("/v1/embeddings", {"input": TEXTS, "encoding_format": "base64"}).body["data"]
    read = [np.frombuffer(base64.b64decode(one["embedding"]), dtype="<f4") for one in coded]
    np.testing.assert_array_equal(np.stack(read), plain)


def test_the_openai_client_reads_vectors_models_and_errors(live: Live, run: Any) -> None:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{live.port}/v1", api_key="none", max_retries=0) as client:
        (name,) = [model.id for model in client.models.list()]
        answer = client.embeddings.create(model=name, input=TEXTS)
        floats = client.embeddings.create(model=name, input=TEXTS, encoding_format="float")
        with pytest.raises(openai.NotFoundError, match="'tiny-run'") as unknown:
            client.embeddings.create(model="text-embedding-3-small", input=TEXTS)
        with pytest.raises(openai.BadRequestError, match="token ids"):
            client.embeddings.create(model=name, input=[[1, 2, 3]])
    expected = ConceptModel.load(run).encode(TEXTS)
    for found in (answer, floats):
        np.testing.assert_allclose([one.embedding for one in found.data], expected, atol=1e-6)
    assert answer.usage.prompt_tokens > len(TEXTS)
    assert (unknown.value.param, unknown.value.code) == ("model", "model_not_found")


def test_requests_that_wait_are_encoded_in_one_batch_with_the_vectors_that_each_has_alone(live: Live) -> None:
    bodies = [{"input": [TEXTS[number % 3], f"Story number {number}."]} for number in range(20)]
    alone = [vectors(live.post("/v1/embeddings", body)) for body in bodies]
    calls, texts = (live.count(name) for name in ("lang_jepa_batch_requests_count", "lang_jepa_texts_encoded_total"))
    with live.busy():
        threads, answers = in_threads(live, bodies)
        live.wait_for(20)
    for thread in threads:
        thread.join()
    for answer, expected in zip(answers, alone, strict=True):
        np.testing.assert_allclose(vectors(answer), expected, atol=1e-6)
    assert live.count("lang_jepa_batch_requests_count") == calls + 1
    assert live.count("lang_jepa_texts_encoded_total") == texts + 40


def test_a_request_that_fails_leaves_those_beside_it_alone(live: Live) -> None:
    bodies: list[Any] = [{"input": TEXTS}, {"input": ["fine", "\u200b"]}, {"input": TEXTS[:1]}]
    with live.busy():
        threads, answers = in_threads(live, bodies)
        live.wait_for(3)
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200, 400, 200]
    assert "text 1" in answers[1].message


def test_a_batch_that_fails_as_a_whole_is_encoded_request_by_request(run: Any) -> None:
    """As where the memory is too small for all of them."""

    class Small(Served):
        def vectors(self, tokens: Any) -> Any:
            if len(tokens) > 3:
                raise MemoryError
            return super().vectors(tokens)

    with serving(Small(ConceptModel.load(run), run)) as live:
        with live.busy():
            threads, answers = in_threads(live, [{"input": TEXTS}, {"input": TEXTS[:2]}, {"input": [*TEXTS, *TEXTS]}])
            live.wait_for(3)
        for thread in threads:
            thread.join()
        assert [answer.status for answer in answers] == [200, 200, 500]
        np.testing.assert_allclose(vectors(answers[1]), vectors(answers[0])[:2], atol=1e-6)
        assert "Memory" not in answers[2].message


def test_fifty_clients_at_once(live: Live, run: Any) -> None:
    texts = [f"Anna has {number} birds." for number in range(50)]
    expected = ConceptModel.load(run).encode(texts)
    for _ in range(2):
        threads, answers = in_threads(live, [{"input": text} for text in texts])
        for thread in threads:
            thread.join()
        np.testing.assert_allclose(np.concatenate(list(map(vectors, answers))), expected, atol=1e-6)


def test_a_gpt_is_served_too(gpt: Any) -> None:
    with serving(Served.open(gpt)) as live:
        found = vectors(live.post("/v1/embeddings", {"input": TEXTS}))
        np.testing.assert_allclose(found, TextGPT.load(gpt).encode(TEXTS), atol=1e-5)
        assert live.ask("GET", "/health").body["can"] == ["/v1/embeddings", "/v1/models", "/continue"]
        written = live.post("/continue", {"text": "Anna went", "tokens": 5}).body["texts"]
        assert written[0].startswith("Anna went")
        assert len(written[0]) > len("Anna went")
        refused = live.post("/continue", {"text": "Anna", "sentences": 2})
        assert (refused.status, refused.body["error"]["param"]) == (400, "sentences")
        assert live.post("/document", {"text": "Anna went home."}).status == 409
