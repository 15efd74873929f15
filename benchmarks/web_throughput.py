"""How many motions a second the web app makes for 1, 8 and 32 clients at once, and whether it stays well.

Each client asks, waits for its motion, deletes it, and asks again, over HTTP against a server that runs
already (``motiongpt3 serve``). Requests that wait together share forward passes, which cost less than one
each; what a pass costs grows with its rows. A motion has 4 s and the model's own settings.

Checked are: every request is answered, with the motion that was asked for; no client gets far fewer answers
than another; and the server's memory does not grow once it is warm. Prints a line per number of clients, what
was wrong, and one line of JSON last; the exit code is 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

PROMPT = "a person walks forward and turns left"
SECONDS = 4
MOST_UNFAIR = 2  # answers that a client may have more than another
MOST_GROWTH = 64  # MiB


@dataclass
class Clients:
    """Some clients, and what happened to them.

    Attributes:
        address: of the server.
        count: of the clients.
        model: that they ask, or None.
        waits: seconds that each waited for each of its motions.
        wrong: what should not have happened.
    """

    address: str
    count: int
    model: str | None
    waits: list[list[float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def ask(self, seconds: float) -> float:
        """Let them ask until the time is over; the seconds it took until the last answer."""
        self.waits = [[] for _ in range(self.count)]
        threads = [threading.Thread(target=self._ask, args=(one, seconds)) for one in range(self.count)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began

    def _ask(self, client: int, seconds: float) -> None:
        end, seed = time.perf_counter() + seconds, client
        while time.perf_counter() < end:
            asked = time.perf_counter()
            try:
                self._make_one(client, seed)
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self.wrong.append(f"client {client}, seed {seed}: {type(error).__name__}: {error}")
            else:
                self.waits[client].append(time.perf_counter() - asked)
            seed += self.count

    def _make_one(self, client: int, seed: int) -> None:
        body = {"prompt": PROMPT, "seconds": SECONDS, "seed": seed, "model": self.model}
        made = json.loads(request(self.address, "POST", "/api/generate", body, client))
        (motion,) = made["motions"]
        if (motion["seed"], motion["seconds"]) != (seed, SECONDS):
            raise ValueError(f"another motion than asked for: {motion}")
        request(self.address, "DELETE", f"/api/motions/{motion['id']}", None, client)


def request(address: str, method: str, path: str, body: Any = None, client: int = 0) -> bytes:
    """The content of an answer.

    Raises:
        ValueError: if its status is not one of success.
    """
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=600)
    try:
        headers = {"Content-Type": "application/json", "X-Client": f"bench{client}"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if not 200 <= answer.status < 300:
        raise ValueError(f"{method} {path}: {answer.status} {content[:200].decode(errors='replace')}")
    return content


def wait_for(address: str, seconds: float = 300.0) -> bool:
    """Whether there is a server with its models loaded, now or within some time."""
    end = time.perf_counter() + seconds
    while True:
        try:
            request(address, "GET", "/ready")
        except (OSError, http.client.HTTPException, ValueError):
            if time.perf_counter() > end:
                return False
            time.sleep(1.0)
        else:
            return True


def memory(address: str) -> float:
    """MiB that the server has, by its own metrics."""
    lines = request(address, "GET", "/metrics").decode().splitlines()
    (found,) = (line for line in lines if line.startswith("process_resident_memory_bytes "))
    return float(found.split()[1]) / 2**20


def measured(clients: Clients, seconds: float, warm_up: float) -> dict[str, Any]:
    """Numbers of a time in which the clients asked; what was wrong is added to theirs."""
    clients.ask(warm_up)
    before = memory(clients.address)
    took = clients.ask(seconds)
    after = memory(clients.address)
    waits = [wait for one in clients.waits for wait in one]
    answers = [len(one) for one in clients.waits]
    if max(answers) - min(answers) > MOST_UNFAIR:
        clients.wrong.append(f"unfair: {min(answers)} to {max(answers)} answers per client")
    if after - before > MOST_GROWTH:
        clients.wrong.append(f"memory grew from {before:.0f} to {after:.0f} MiB")
    return {
        "clients": clients.count,
        "motions": len(waits),
        "motions_per_second": round(len(waits) / took, 2),
        "median_wait": round(statistics.median(waits), 2) if waits else None,
        "longest_wait": round(max(waits), 2) if waits else None,
        "fewest_and_most_per_client": [min(answers), max(answers)],
        "memory_before_and_after": [round(before), round(after)],
        "wrong": len(clients.wrong),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", nargs="?", default="http://127.0.0.1:8888")
    parser.add_argument("--clients", default="1,8,32", help="numbers of clients, one after the other")
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long each number of them asks")
    parser.add_argument("--warm_up", type=float, default=10.0, help="seconds before, which do not count")
    parser.add_argument("--model", help="which one of the server's, by default its first")
    options = parser.parse_args(arguments)
    if not wait_for(options.address):
        print(f"no server that is ready at {options.address}: motiongpt3 serve", file=sys.stderr)
        return 2
    results, wrong = [], 0
    for count in map(int, options.clients.split(",")):
        clients = Clients(options.address, count, options.model)
        results.append(measured(clients, options.seconds, options.warm_up))
        wrong += len(clients.wrong)
        print(results[-1], *clients.wrong[:5], sep="\n  ")
    print(json.dumps({"benchmark": "web_throughput", "results": results}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
