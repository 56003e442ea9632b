-- How far and how a trajectory moved.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all

CREATE TABLE cases (name text, t trajectory);
INSERT INTO cases VALUES
    ('null', NULL),
    ('empty', '{}'),
    ('one', '{[1,2]@2026-01-01}'),
    ('two', '{[1,0]@2026-01-01, [4,4]@2026-01-03}'),
    ('three', '{[1,0]@2026-01-01, [4,4]@2026-01-03, [4,0]@2026-01-04}'),
    ('straight', '{[1,1]@2026-01-01, [2,2]@2026-01-02, [3,3]@2026-01-03, [4,4]@2026-01-04}'),
    ('still', '{[1,2]@2026-01-01, [1,2]@2026-01-02, [1,2]@2026-01-05}'),
    ('zeros', '{[0,0]@2026-01-01, [0,0]@2026-01-02}'),
    ('loop', '{[1,0]@2026-01-01, [0,1]@2026-01-02, [1,0]@2026-01-03}'),
    ('opposite', '{[1,0]@2026-01-01, [-1,0]@2026-01-02}'),
    ('tiny', '{[1e-45]@2026-01-01, [4e-45]@2026-01-01 00:00:00.000001}'),
    ('huge', '{[3e38,-3e38]@2026-01-01, [-3e38,3e38]@2026-01-02, [3e38,3e38]@2026-01-03}'),
    ('widest', '{[1,2]@4714-11-24 00:00:00+00 BC, [3,4]@2026-01-01, [3,5]@294276-12-31 23:59:59.999999+00}');

SELECT name, pg_temp.r6(drift(t)) AS cosine, pg_temp.r6(drift(t, 'cosine')) AS named, drift(t, 'l2')::float4 AS l2 FROM cases WHERE name NOT IN ('tiny', 'huge');
SELECT pg_temp.r6(drift(t)) AS cosine, (drift(t, 'l2') / 1e38)::float4 AS l2_1e38, (volatility(t) / 1e38)::float4 AS volatility_1e38, pg_temp.r6(drift_entropy(t)) AS entropy,
       pg_temp.r6(stability_score(t)) AS stability, dimensions, pg_temp.r6(r.l2 / 1e38) AS report_1e38 FROM cases, drift_report(t) r WHERE name = 'huge';
SELECT pg_temp.r6(drift(t)) AS cosine, (drift(t, 'l2') * 1e45)::float4 AS l2, volatility(t), drift_entropy(t) AS entropy,
       pg_temp.r6(stability_score(t)) AS stability, dimensions FROM cases, drift_report(t) r WHERE name = 'tiny';
SELECT drift('{[1,0]@2026-01-01, [0,1]@2026-01-02}') AS right_angle, drift('{[2,0]@2026-01-01, [9,0]@2026-01-02}') AS same_direction;
SELECT drift(NULL), drift(t, NULL), drift(metric => 'l2', t => t) FROM cases WHERE name = 'two';
CALL pg_temp.raises($$SELECT drift('{}', 'l1')$$);
CALL pg_temp.raises($$SELECT drift('{[1]@2026-01-01}', '')$$);

SELECT name, pg_temp.r6(drift_trend(t)) AS cosine, drift_trend(t, 'l2')::float4 AS l2, drift_trend(t, 'l2', '4 days')::float4 AS four_days
FROM cases WHERE name NOT IN ('tiny', 'huge');
SELECT name, drift_trend(t, 'l2')::float4 = (SELECT regr_slope(distance, day)::float4 FROM (
    SELECT extract(epoch FROM ts - start_ts(t)) / 86400 AS day, coalesce(drift(slice(t, NULL, ts), 'l2'), 0) AS distance FROM points(t)) p) AS is_regr_slope
FROM cases WHERE name IN ('two', 'three', 'straight', 'still', 'loop', 'opposite');
SELECT drift_trend(NULL), drift_trend(t, NULL), drift_trend(t, 'l2', NULL), drift_trend(unit => '1 day', metric => 'l2', t => t) FROM cases WHERE name = 'two';
CALL pg_temp.raises($$SELECT drift_trend('{}', 'l1')$$);
CALL pg_temp.raises($$SELECT drift_trend('{}', 'l2', '-1 day')$$);

SELECT name, volatility(t)::float4, volatility(t, '4 days')::float4 AS four_days, pg_temp.r6(drift_entropy(t)) AS entropy,
       pg_temp.r6(stability_score(t)) AS stability, hurst(t) FROM cases WHERE name NOT IN ('tiny', 'huge');
-- Per-dimension sample variance of (x_(i+1) - x_i) / sqrt(dt), summed, rooted: of 3/sqrt(2), 0 and 4/sqrt(2), -4.
SELECT pg_temp.r6(volatility(t)) = pg_temp.r6(sqrt(power(3 / sqrt(2), 2) / 2 + power(4 / sqrt(2) + 4, 2) / 2)) FROM cases WHERE name = 'three';
-- One dimension moved; two alike; one dimension in all.
SELECT drift_entropy('{[1,1,1]@2026-01-01, [1,5,1]@2026-01-02}') AS one, drift_entropy('{[1,1]@2026-01-01, [2,0]@2026-01-02}') AS alike,
       drift_entropy('{[1]@2026-01-01, [2]@2026-01-02}') AS only;
SELECT pg_temp.r6(stability_score('{[1,0]@2026-01-01, [0,3]@2026-01-02}')) = pg_temp.r6(sqrt(0.5)) AS half;
CALL pg_temp.raises($$SELECT volatility('{}', '0')$$);
CALL pg_temp.raises($$SELECT volatility('{[1]@2026-01-01}', '-1 second')$$);
SELECT volatility(NULL), volatility('{}', NULL), drift_entropy(NULL), stability_score(NULL), hurst(NULL);

-- Rescaled range of the step norms: steps that alternate revert (below 1/2), steps that trend persist (above).
CREATE FUNCTION pg_temp.walk(steps float8[]) RETURNS trajectory LANGUAGE sql AS $$
    SELECT trajectory_agg('2026-01-01'::timestamptz + i * interval '1 day', ARRAY[position, 1]::vector)
    FROM (SELECT i, sum(step) OVER (ORDER BY i) AS position FROM unnest(steps) WITH ORDINALITY s(step, i)) p
$$;
SELECT min(n) AS fewest FROM generate_series(0, 100) n WHERE hurst(pg_temp.walk(ARRAY(SELECT 1 + i % 3 FROM generate_series(1, n) i))) IS NOT NULL;
SELECT hurst(pg_temp.walk(ARRAY(SELECT 1 + i % 2 FROM generate_series(1, 200) i))) < 0.3 AS reverts,
       hurst(pg_temp.walk(ARRAY(SELECT 1 + i / 10.0 FROM generate_series(1, 200) i))) > 0.8 AS persists,
       hurst(pg_temp.walk(ARRAY(SELECT 1 FROM generate_series(1, 200) i))) AS constant;

SELECT name, r.l2::float4, pg_temp.r6(r.cosine) AS cosine, r.dimensions, r.changes::float4[] FROM cases, drift_report(t) r WHERE name NOT IN ('tiny', 'huge');
SELECT top, r.dimensions, r.changes FROM unnest(ARRAY[0, 1, 2, 5, 2147483647]) top, drift_report('{[0,9,0,3]@2026-01-01, [1,5,0,5]@2026-01-02}', top) r;
-- Of equal changes the earlier dimension comes first.
SELECT dimensions, changes FROM drift_report('{[0,0,0]@2026-01-01, [1,-1,1]@2026-01-02}', 2);
SELECT count(*) FROM drift_report(NULL);
SELECT count(*) FROM drift_report('{[0]@2026-01-01, [1]@2026-01-02}', NULL);
SELECT array_length(dimensions, 1), dimensions[1:3] FROM drift_report(
    (SELECT trajectory_agg('2026-01-01'::timestamptz + d * interval '1 day', (SELECT array_agg(CASE WHEN j = 15999 THEN d * 2 ELSE d END) FROM generate_series(1, 16000) j)::vector)
     FROM generate_series(0, 1) d), 16000);
CALL pg_temp.raises($$SELECT drift_report('{[0]@2026-01-01, [1]@2026-01-02}', -1)$$);
DROP TABLE cases;
