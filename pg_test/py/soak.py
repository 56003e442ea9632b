"""Exactly once, at length: rounds of random faults while half a million records and 200 files are ingested.

    python soak.py [ROUNDS] [RECORDS] [FILES] [SEED]        default 60 500000 200 20261121

`make soak` runs it with the programs that it needs in CVX_PG_BIN and CVX_KAFKA_MOCK. It prints each fault and, at the end,
the figures; it fails with what differs. Minutes.
"""

import sys
import time

from chaos import Chaos, Plan


def main(arguments: list[str]) -> None:
    numbers = [int(text) for text in arguments]
    rounds, records, files, seed = [*numbers, *(60, 500_000, 200, 20261121)[len(numbers) :]]
    started = time.monotonic()

    def say(text: str):
        print(f"{time.monotonic() - started:7.1f} s  {text}", flush=True)

    say(f"{rounds} rounds, {records} records, {files} files, seed {seed}")
    figures = Chaos(Plan(rounds=rounds, records=records, files=files, seed=seed), say).run()
    for name, value in figures.items():
        print(f"  {name}: {value}")
    print("exactly once: the tables equal the sources, row for row; every malformed record is a dead letter, once")


if __name__ == "__main__":
    main(sys.argv[1:])
