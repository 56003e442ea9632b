"""One more point: cvx.bocpd_update against numpy's own arithmetic of the recursion, over as many runs.

Bar: at most 3 times numpy's time at 384 dimensions. numpy keeps its arrays between points; the server takes a state
apart and makes the next one, as it does with every update of a table.
"""

import statistics
import sys
import time

import harness
import numpy as np

POINTS, ROUNDS = 2000, 7
# A loop in the server, less the same loop without the update.
LOOP = """
    CREATE FUNCTION {name}(begun cvx.bocpd_state, points vector[]) RETURNS cvx.bocpd_state LANGUAGE plpgsql AS $$
    DECLARE s cvx.bocpd_state := begun; v vector; i int := 0;
    BEGIN
        FOREACH v IN ARRAY points LOOP
            i := i + 1;
            {body}
        END LOOP;
        RETURN s;
    END $$"""
UPDATE = "s := cvx.bocpd_update(s, '2027-01-01'::timestamptz + i * interval '1 second', v);"
NOTHING = "PERFORM '2027-01-01'::timestamptz + i * interval '1 second', v;"


def numpy_updates(points: np.ndarray, runs: int) -> float:
    """Seconds a point of the recursion over so many runs, all vectorised: distances, densities, posterior, means."""
    dims = points.shape[1]
    rng = np.random.default_rng(2)
    means = rng.standard_normal((runs, dims)) * 0.1
    kappa = np.arange(1.0, runs + 1)
    log_weight = np.log(np.full(runs, 1 / runs))
    bayes = np.zeros(runs)
    log_hazard, freedom, variance = np.log(0.004), 256 * 2 / 3 * dims, float(dims)
    start = time.perf_counter()
    for x in points.astype(np.float64):
        # The new run in the place of the least probable one.
        worst = 1 + log_weight[1:].argmin()
        means[worst], kappa[worst], log_weight[worst], bayes[worst] = means[0], 0.3, log_hazard, 0.0
        e = x - means
        square = np.einsum("ij,ij->i", e, e)
        spread = 1 + 1 / kappa
        tail = np.log1p(square * dims / (variance * spread * freedom))
        density = -dims / 2 * np.log(spread) - (freedom + dims) / 2 * tail
        log_weight += density
        bayes += density - density[0]
        most = log_weight.max()
        log_weight -= most + np.log(np.exp(log_weight - most).sum())
        kappa += 1
        means += e / kappa[:, None]
    return (time.perf_counter() - start) / len(points)


def server_updates(conn, dims: int, points: np.ndarray) -> tuple[float, int, int]:
    """Seconds a point, the runs of the state and its bytes."""
    rng = np.random.default_rng(3)
    warm = [vector(x) for x in rng.standard_normal((300, dims)).astype(np.float32)]
    vectors = [vector(x) for x in points]
    arrays = "%s::text[]::vector[] AS warm, %s::text[]::vector[] AS timed"
    conn.execute(f"CREATE TEMP TABLE points AS SELECT {arrays}", (warm, vectors))
    conn.execute("CREATE TEMP TABLE begun AS SELECT warm_up(NULL, warm) AS state FROM points")
    times = {}
    for name in ("update_all", "update_none"):
        query = f"SELECT pg_column_size({name}(state, timed)) FROM begun, points"
        times[name] = [harness.seconds(lambda q=query: conn.execute(q)) for _ in range(ROUNDS + 1)][1:]
    # A state's means are float4 at this many dimensions; behind its header stand a u16 of squares and one of runs.
    header = "SELECT get_byte(b, 58) + 256 * get_byte(b, 59), length(b) FROM begun, cvx.bocpd_state_send(state) b"
    runs, size = conn.execute(header).fetchone()
    conn.execute("DROP TABLE points; DROP TABLE begun")
    return (statistics.median(times["update_all"]) - statistics.median(times["update_none"])) / len(points), runs, size


def vector(x: np.ndarray) -> str:
    return "[" + ",".join(map(repr, x.tolist())) + "]"


def main() -> bool:
    conn = harness.connect()
    conn.execute("SET jit = off")
    conn.execute(LOOP.format(name="update_all", body=UPDATE))
    conn.execute(LOOP.format(name="update_none", body=NOTHING))
    conn.execute(LOOP.format(name="warm_up", body=UPDATE.replace("2027", "2026")))
    holds = True
    for dims in (2, 384, 768):
        count = POINTS if dims < 768 else POINTS // 2
        points = np.random.default_rng(1).standard_normal((count, dims)).astype(np.float32)
        seconds, runs, size = server_updates(conn, dims, points)
        numpys = statistics.median([numpy_updates(points, runs) for _ in range(ROUNDS)])
        print(f"  D = {dims}: {seconds * 1e6:.0f} µs, numpy {numpys * 1e6:.0f} µs; {runs} runs, a state of {size} bytes")
        if dims == 384:
            holds = harness.report("times numpy's arithmetic of the recursion", seconds / numpys, 3, at_least=False)
    return holds


if __name__ == "__main__":
    sys.exit(not main())
