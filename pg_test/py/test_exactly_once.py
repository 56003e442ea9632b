"""Exactly once, in short: a few rounds of faults while records and files are ingested. The long form is soak.py."""

import os

import pytest
from chaos import Chaos, Plan

pytestmark = pytest.mark.skipif("CVX_KAFKA_MOCK" not in os.environ, reason="CVX_KAFKA_MOCK names no mock broker")

ROUNDS = int(os.environ.get("CVX_TEST_ROUNDS", "10"))


@pytest.mark.parametrize(
    "settings", [{}, {"synchronous_commit": "off"}], ids=["durable commits", "asynchronous commits"]
)
def test_the_tables_equal_the_sources(settings):
    rounds = ROUNDS if not settings else max(4, ROUNDS // 2)
    plan = Plan(
        rounds=rounds, records=10_000, files=20, seed=len(settings) + 1, file_rows=200, partitions=6, settings=settings
    )
    figures = Chaos(plan, print).run()
    print(figures)
