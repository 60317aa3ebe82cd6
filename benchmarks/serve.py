"""Requests per second of `lang-jepa serve` and of a plain sentence-transformers endpoint, in turn, with 50 clients.

    python benchmarks/serve.py MODEL [--precision fp32] [--clients 50] [--rounds 3] [--threads 1]

MODEL is a sentence-transformers folder. The plain endpoint is `PLAIN` below, once with `def` (one thread per request)
and once with `async def` (one request after the other). A client sends a text, waits for the vector, and sends the next
one; the clients run in a separate process on the last core. Each server gets the first --threads cores.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from lang_jepa.stories.generate import story

PLAIN = """
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

app, model = FastAPI(), SentenceTransformer({model!r}, device="cpu")

class Asked(BaseModel):
    input: list[str]

@app.post("/v1/embeddings")
{how} embeddings(asked: Asked):
    return {{"data": [{{"embedding": row}} for row in model.encode(asked.input).tolist()]}}
"""


HEAD = "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def texts(count, sentences):
    """Return `count` different texts of `sentences` story sentences each."""
    found, number = [], 0
    while len(found) < count:
        told = [one.text for one in story(number).sentences]
        found += [" ".join(told[begin : begin + sentences]) for begin in range(0, len(told) - sentences + 1, sentences)]
        number += 1
    return found[:count]


async def client(port, queue, seconds, vectors):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while queue:
        number, text = queue.pop()
        body = json.dumps({"input": [text]}).encode()
        head = f"{HEAD}Content-Length: {len(body)}\r\n"
        begun = time.perf_counter()
        writer.write(head.encode() + b"\r\n" + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        length = next(
            int(line.split(b":")[1]) for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        found = await reader.readexactly(length)
        seconds.append(time.perf_counter() - begun)
        if number % 50 == 0:
            vectors[number] = np.array(json.loads(found)["data"][0]["embedding"])
    writer.close()


def load(port, asked, clients):
    """Return requests per second, latencies, and some of the vectors."""
    queue, seconds, vectors = list(enumerate(asked)), [], {}

    async def all_clients():
        await asyncio.gather(*(client(port, queue, seconds, vectors) for _ in range(clients)))

    begun = time.perf_counter()
    asyncio.run(all_clients())
    return len(asked) / (time.perf_counter() - begun), np.array(seconds), vectors


def cpu_seconds(process):
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def start(command, port, threads):
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    pinned = ["taskset", "--cpu-list", f"0-{threads - 1}"]
    process = subprocess.Popen([*pinned, sys.executable, "-m", *command], stdout=subprocess.DEVNULL, env=environment)
    while True:
        try:
            load(port, ["a first text"], 1)
            return process
        except OSError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.5)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    for name, usual in (("clients", 50), ("rounds", 3), ("threads", 1), ("short", 2000), ("long", 300)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--precision", default="fp32")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        servers = {}
        try:
            measure_all(servers, folder, options)
        finally:
            for _, process in servers.values():
                process.terminate()
                process.wait()


def measure_all(servers, folder, options):
    port = free_port()
    servers["lang-jepa serve"] = (
        port,
        start(
            ["lang_jepa.cli", "serve", options.model, "--port", str(port), "--precision", options.precision],
            port,
            options.threads,
        ),
    )
    for name, how in (("threads", "def"), ("async", "async def")):
        Path(folder, f"plain_{name}.py").write_text(PLAIN.format(model=options.model, how=how))
        port = free_port()
        command = ["uvicorn", "--app-dir", folder, f"plain_{name}:app", "--port", str(port), "--log-level", "warning"]
        servers[f"plain endpoint, {how}"] = port, start(command, port, options.threads)
    for title, asked in (("a sentence", texts(options.short, 1)), ("a paragraph", texts(options.long, 12))):
        words = sum(len(text.split()) for text in asked) / len(asked)
        print(
            f"{title} ({words:.0f} words): {options.rounds} rounds of {len(asked)} requests, {options.clients} clients"
        )
        measure(servers, asked, options)


def measure(servers, asked, options):
    rates, seconds, cpu, first = ({name: [] for name in servers} for _ in range(4))
    for _ in range(options.rounds):
        for name, (port, process) in servers.items():
            before = cpu_seconds(process)
            rate, took, vectors = load(port, asked, options.clients)
            rates[name].append(rate)
            seconds[name].append(took)
            cpu[name].append((cpu_seconds(process) - before) / len(asked))
            first[name] = vectors
            print(f"    {name}: {rate:.1f} requests/s", file=sys.stderr, flush=True)
    ours, *others = servers
    for name in others:
        cosines = [first[ours][n] @ first[name][n] / np.linalg.norm(first[name][n]) for n in first[ours]]
        assert min(cosines) > 0.9999, (name, min(cosines))
    for name in servers:
        p50, p95, p99 = 1000 * np.percentile(np.concatenate(seconds[name]), [50, 95, 99])
        ratio = [one / other for one, other in zip(rates[ours], rates[name], strict=True)]
        print(
            f"  {name:28} {median(rates[name]):7.1f} requests/s  p50 {p50:6.0f} ms  p95 {p95:6.0f}  p99 {p99:6.0f}  "
            f"{1000 * median(cpu[name]):6.2f} ms CPU a request  ours is {median(ratio):.2f} times as fast "
            f"({min(ratio):.2f} to {max(ratio):.2f})"
        )


if __name__ == "__main__":
    main()
