"""No alert lost, none with two ids, at length: monitors under load while processes and the server are killed.

    python soak_monitors.py [KILLS] [SEED]        default 50 20261121

`make soak` runs it with the programs that it needs in CVX_PG_BIN. It prints each fault and, at the end, the figures; it
fails with the alerts that are wrong.
"""

import sys
import time

from monitors_chaos import MonitorsChaos, Plan


def main(kills: str = "50", seed: str = "20261121") -> None:
    started = time.monotonic()

    def say(text: str):
        print(f"{time.monotonic() - started:7.1f} s  {text}", flush=True)

    say(f"{kills} kills, seed {seed}")
    plan = Plan(kills=int(kills), seed=int(seed), feeders=12, revisers=4, faults=(2.0, 8.0), settle=400)
    figures = MonitorsChaos(plan, say).run()
    for name, value in figures.items():
        if isinstance(value, dict):
            print(f"  {name}:")
            for what, count in value.items():
                print(f"    {what}: {count}")
        else:
            print(f"  {name}: {value}")
    print("no alert lost, none with two ids: the alerts follow from what is stored, and all were delivered")


if __name__ == "__main__":
    main(*sys.argv[1:])
