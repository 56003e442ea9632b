-- Change points of one trajectory.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all

-- Noise that is the same on every machine, in [-1, 1): a linear congruential sequence.
CREATE FUNCTION pg_temp.noise(n int) RETURNS float8 LANGUAGE sql IMMUTABLE AS
    $$SELECT ((n::bigint * 1103515245 + 12345) % 2147483648 * 48271 % 2147483647) / 1073741823.5 - 1$$;
CREATE FUNCTION pg_temp.signal(points int, at int, shift float8, dims int DEFAULT 3) RETURNS trajectory LANGUAGE sql IMMUTABLE AS $$
    SELECT trajectory_agg('2026-01-01'::timestamptz + i * interval '1 day', vec)
    FROM (SELECT i, array_agg((pg_temp.noise(i * dims + j) + CASE WHEN i >= at THEN shift ELSE 0 END)::real ORDER BY j)::vector AS vec
          FROM generate_series(0, points - 1) i, generate_series(0, dims - 1) j GROUP BY i) p
$$;

-- A step is found where it is, under every cost, with a penalty given and with one calibrated.
SELECT cost, penalty, c.ts, c.index, round(c.severity::numeric, 2) AS severity, vector_dims(c.shift) AS dims
FROM (VALUES ('l2', NULL::float8), ('l2', 20), ('cosine', NULL), ('cosine', 2), ('rbf', NULL), ('rbf', 2)) v(cost, penalty),
     changepoints(pg_temp.signal(60, 30, 4), cost => v.cost, penalty => v.penalty) c;
SELECT count(*) AS without_change FROM changepoints(pg_temp.signal(60, 99, 0));
SELECT count(*) AS without_change FROM changepoints(pg_temp.signal(60, 99, 0), autocorrelated => true);
SELECT c.index FROM changepoints(pg_temp.signal(60, 30, 4), autocorrelated => true) c;
SELECT c.index, c.ts FROM changepoints(pg_temp.signal(60, 30, 4, 1)) c;
SELECT c.index FROM changepoints(pg_temp.signal(40, 20, 1, 384)) c;
-- Exact: a step with no noise at all, by hand. The squared error is 100 without a break and 0 with it.
SELECT c.ts, c.index, c.severity, c.shift FROM changepoints('{[0]@2026-01-01, [0]@2026-01-02, [10]@2026-01-03, [10]@2026-01-04}', penalty => 99) c;
SELECT count(*) FROM changepoints('{[0]@2026-01-01, [0]@2026-01-02, [10]@2026-01-03, [10]@2026-01-04}', penalty => 101) c;
SELECT array_agg(c.index) FROM changepoints('{[0]@2026-01-01, [5]@2026-01-02, [10]@2026-01-03, [15]@2026-01-04}', penalty => 0, min_size => 1) c;
-- The means beside the break: shift is the one after less the one before.
SELECT c.index, pg_temp.r6(c.shift) FROM changepoints('{[1,5]@2026-01-01, [3,5]@2026-01-02, [10,5]@2026-01-03, [12,9]@2026-01-04}', penalty => 5) c;

-- Too little to see anything in.
SELECT (SELECT count(*) FROM changepoints(NULL)) AS "null", (SELECT count(*) FROM changepoints('{}')) AS empty,
       (SELECT count(*) FROM changepoints('{[1]@2026-01-01}')) AS one, (SELECT count(*) FROM changepoints('{[1]@2026-01-01, [2]@2026-01-02}')) AS two,
       (SELECT count(*) FROM changepoints('{[1]@2026-01-01, [2]@2026-01-02, [9]@2026-01-03}')) AS three,
       (SELECT count(*) FROM changepoints(pg_temp.signal(20, 10, 9), min_size => 11)) AS min_size,
       (SELECT count(*) FROM changepoints(pg_temp.signal(20, 10, 9), min_size => 2147483647)) AS largest_min_size;
SELECT array_agg(c.index) AS min_size_holds FROM changepoints(pg_temp.signal(40, 10, 9), penalty => 1, min_size => 8) c
    WHERE c.index < 8 OR c.index > 32;
-- Nothing but equal points; a zero vector under cosine; large numbers.
SELECT count(*) FROM (SELECT trajectory_agg('2026-01-01'::timestamptz + i * interval '1 day', '[1,2]') AS t FROM generate_series(1, 50) i) s, changepoints(t);
SELECT cost, count(c.index) FROM unnest(ARRAY['l2', 'cosine', 'rbf']) cost,
    (SELECT trajectory_agg('2026-01-01'::timestamptz + i * interval '1 day', '[0,0]') AS t FROM generate_series(1, 20) i) s LEFT JOIN LATERAL changepoints(t) c ON true GROUP BY cost ORDER BY cost;
CREATE FUNCTION pg_temp.large(size text) RETURNS trajectory LANGUAGE sql IMMUTABLE AS $$
    SELECT trajectory_agg('2026-01-01'::timestamptz + i * interval '1 day', format(CASE WHEN i < 15 THEN '[%s,-%1$s]' ELSE '[-%s,-%1$s]' END, size)::vector)
    FROM generate_series(0, 29) i
$$;
SELECT cost, array_agg(c.index), min(c.shift::text) AS shift FROM unnest(ARRAY['l2', 'cosine', 'rbf']) cost, changepoints(pg_temp.large('1e38'), cost => cost, penalty => 0.5) c GROUP BY cost ORDER BY cost;
CALL pg_temp.raises($$SELECT changepoints(pg_temp.large('3e38'), penalty => 0.5)$$);

-- NULL arguments: penalty and gamma choose, the others give no rows.
SELECT (SELECT count(*) FROM changepoints(pg_temp.signal(60, 30, 4), NULL)) AS method, (SELECT count(*) FROM changepoints(pg_temp.signal(60, 30, 4), cost => NULL)) AS cost,
       (SELECT count(*) FROM changepoints(pg_temp.signal(60, 30, 4), min_size => NULL)) AS min_size, (SELECT count(*) FROM changepoints(pg_temp.signal(60, 30, 4), alpha => NULL)) AS alpha,
       (SELECT count(*) FROM changepoints(pg_temp.signal(60, 30, 4), autocorrelated => NULL)) AS autocorrelated,
       (SELECT count(*) FROM changepoints(pg_temp.signal(60, 30, 4), penalty => NULL, gamma => NULL)) AS chosen;
-- The defaults are these.
SELECT (SELECT array_agg(c.*) FROM changepoints(pg_temp.signal(60, 30, 4)) c) =
       (SELECT array_agg(c.*) FROM changepoints(pg_temp.signal(60, 30, 4), 'pelt', 'l2', NULL, 2, 0.05, NULL, false) c) AS same;

CALL pg_temp.raises($$SELECT changepoints('{}', 'binseg')$$);
CALL pg_temp.raises($$SELECT changepoints('{}', cost => 'l1')$$);
CALL pg_temp.raises($$SELECT changepoints(pg_temp.signal(60, 30, 4), penalty => -1)$$);
CALL pg_temp.raises($$SELECT changepoints(pg_temp.signal(60, 30, 4), penalty => 'NaN')$$);
CALL pg_temp.raises($$SELECT changepoints(pg_temp.signal(60, 30, 4), penalty => 'infinity')$$);
CALL pg_temp.raises($$SELECT changepoints(pg_temp.signal(60, 30, 4), min_size => 0)$$);
CALL pg_temp.raises($$SELECT changepoints(pg_temp.signal(60, 30, 4), min_size => -3)$$);
CALL pg_temp.raises($$SELECT changepoints(pg_temp.signal(60, 30, 4), alpha => 0)$$);
CALL pg_temp.raises($$SELECT changepoints(pg_temp.signal(60, 30, 4), alpha => 1)$$);
CALL pg_temp.raises($$SELECT changepoints(pg_temp.signal(60, 30, 4), alpha => 'NaN')$$);
CALL pg_temp.raises($$SELECT changepoints(pg_temp.signal(60, 30, 4), cost => 'rbf', gamma => 0)$$);
CALL pg_temp.raises($$SELECT changepoints(pg_temp.signal(60, 30, 4), cost => 'rbf', gamma => 'NaN')$$);
CALL pg_temp.raises($$SELECT changepoints(pg_temp.signal(60, 30, 4), cost => 'rbf', gamma => 'infinity')$$);
