"""Never wrong, at length: views under everything that can happen to the tables that they are computed from.

    python soak_views.py MINUTES [SEED]        default seed 20261121

`make soak` runs it with the programs that it needs in CVX_PG_BIN. It prints each fault and, at the end, the figures; it
fails with the first row that is out of date and says it is fresh, and what cvx knew of it.
"""

import sys
import time

from views_chaos import Plan, ViewsChaos


def main(minutes: str, seed: str = "20261121") -> None:
    started = time.monotonic()

    def say(text: str):
        print(f"{time.monotonic() - started:7.1f} s  {text}", flush=True)

    say(f"{minutes} minutes, seed {seed}")
    plan = Plan(seconds=60 * float(minutes), seed=int(seed), writers=16, refreshers=4, observers=3, settle=300)
    figures = ViewsChaos(plan, say).run()
    for name, value in figures.items():
        if isinstance(value, dict):
            print(f"  {name}:")
            for what, count in value.items():
                print(f"    {what}: {count}")
        else:
            print(f"  {name}: {value}")
    print("never wrong: no row that was out of date said it was fresh; every view equals a recomputation, row for row")


if __name__ == "__main__":
    main(*sys.argv[1:])
