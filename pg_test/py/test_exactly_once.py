"""Exactly once, in short: a few rounds of faults while records and files are ingested. The long form is soak.py."""

import os

from chaos import Chaos, Plan

ROUNDS = int(os.environ.get("CVX_TEST_ROUNDS", "10"))


def test_the_tables_equal_the_sources():
    plan = Plan(rounds=ROUNDS, records=50_000, files=20, seed=1, file_rows=200, partitions=6)
    print(Chaos(plan, print).run())
