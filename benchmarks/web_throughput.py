"""How many motions a second the web app makes for 1, 8 and 32 clients that ask at once.

Each client asks, waits for its motion, and asks again, over HTTP against a server that runs already
(``motiongpt3 serve``). Requests that wait together share forward passes, which cost less than one each;
what a pass costs grows with its rows. A motion has 4 s and the model's own settings.

Prints one line per number of clients and one line of JSON last.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import threading
import time
from urllib.parse import urlsplit

PROMPT = "a person walks forward and turns left"


class Clients:
    """Some clients, and what happened to them."""

    def __init__(self, address: str, count: int, seconds: float) -> None:
        self.address, self.count, self.seconds = address, count, seconds
        self.waits: dict[int, list[float]] = {client: [] for client in range(count)}
        self.wrong: list[str] = []

    def run(self) -> float:
        """Let them ask until the time is over; the seconds it took until the last answer."""
        threads = [threading.Thread(target=self._ask, args=(client,)) for client in self.waits]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began

    def _ask(self, client: int) -> None:
        host = urlsplit(self.address).netloc
        headers = {"Content-Type": "application/json", "X-Client": f"bench{client}"}
        began = time.perf_counter()
        seed = client
        while time.perf_counter() - began < self.seconds:
            asked = time.perf_counter()
            connection = http.client.HTTPConnection(host, timeout=600)
            try:
                body = json.dumps({"prompt": PROMPT, "seconds": 4, "seed": seed})
                connection.request("POST", "/api/generate", body, headers)
                answer = connection.getresponse()
                content = answer.read()
                if answer.status != 200:
                    self.wrong.append(f"{answer.status} {content[:200]!r}")
            except OSError as error:
                self.wrong.append(str(error))
            finally:
                connection.close()
            self.waits[client].append(time.perf_counter() - asked)
            seed += self.count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", nargs="?", default="http://127.0.0.1:8888")
    parser.add_argument("--clients", default="1,8,32", help="numbers of clients, one after the other")
    parser.add_argument("--seconds", type=float, default=30.0, help="for how long each number of them asks")
    options = parser.parse_args()
    results = []
    for count in map(int, options.clients.split(",")):
        clients = Clients(options.address, count, options.seconds)
        took = clients.run()
        waits = [wait for one in clients.waits.values() for wait in one]
        answers = [len(one) for one in clients.waits.values()]
        results.append(
            {
                "clients": count,
                "motions": len(waits),
                "motions_per_second": round(len(waits) / took, 2),
                "median_wait": round(statistics.median(waits), 2),
                "longest_wait": round(max(waits), 2),
                "fewest_and_most_per_client": [min(answers), max(answers)],
                "failed": len(clients.wrong),
            }
        )
        print(results[-1], *clients.wrong[:3])
    print(json.dumps({"benchmark": "web_throughput", "results": results}))


if __name__ == "__main__":
    main()
