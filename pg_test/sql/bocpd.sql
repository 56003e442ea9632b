-- Change points as points come in.
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
-- The state after the points of a trajectory, fed one by one.
CREATE FUNCTION pg_temp.fed(t trajectory) RETURNS bocpd_state LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE s bocpd_state; p record;
BEGIN
    FOR p IN SELECT * FROM points(t) ORDER BY ts LOOP
        s := bocpd_update(s, p.ts, p.vec);
    END LOOP;
    RETURN s;
END $$;

-- A step is reported soon after it, in any number of dimensions.
SELECT dims, b.ts, b.index, b.run_length, round(b.probability::numeric, 2) AS probability, round(b.severity::numeric, 2) AS severity, b.detected_at
FROM unnest(ARRAY[1, 3, 384]) dims, bocpd(pg_temp.signal(80, 50, 4, dims)) b;
SELECT count(*) AS without_change FROM bocpd(pg_temp.signal(200, 999, 0));
-- Exact: a step with no noise at all.
SELECT b.ts, b.index, pg_temp.r6(b.probability) AS probability, b.run_length, pg_temp.r6(b.severity) AS severity FROM
    (SELECT trajectory_agg('2026-01-01'::timestamptz + i * interval '1 day', (CASE WHEN i < 20 THEN '[1,2]' ELSE '[1,3]' END)::vector) t FROM generate_series(0, 29) i) s, bocpd(t) b;
-- +1 and -1 in turn around 0, then around 10: the variance is half the mean square of the differences over the share
-- 1 - 0.2757 - 0.11 that trimming keeps of it in one dimension.
SELECT b.index, pg_temp.r6(b.severity) AS severity, pg_temp.r6(100 / (100 + 2 / (1 - 0.2757 - 0.11))) AS by_hand FROM
    (SELECT trajectory_agg('2026-01-01'::timestamptz + i * interval '1 day', ARRAY[(1 - 2 * (i % 2) + CASE WHEN i < 40 THEN 0 ELSE 10 END)::real]::vector) t
     FROM generate_series(0, 45) i) s, bocpd(t) b;
-- One point far off is no change, and hides none.
SELECT b.index, b.run_length FROM bocpd(slice(pg_temp.signal(80, 50, 4), NULL, '2026-01-30') || '{[900,0,0]@2026-01-30 12:00}' || slice(pg_temp.signal(80, 50, 4), '2026-01-31', NULL)) b;

-- One point at a time: the report comes with the point that decides, and goes with the next.
SELECT bocpd_num_points(s), bocpd_last_ts(s), bocpd_run_length(s), bocpd_probability(s) < 0.01 AS quiet, (SELECT count(*) FROM bocpd_reported(s)) AS reports
FROM (SELECT pg_temp.fed(pg_temp.signal(50, 50, 4)) s) f;
SELECT r.ts, r.index, r.run_length, r.detected_at, bocpd_probability(s) AS probability, bocpd_run_length(s) AS run_length_now
FROM bocpd(pg_temp.signal(80, 50, 4)) b, LATERAL (SELECT pg_temp.fed(slice(pg_temp.signal(80, 50, 4), NULL, b.detected_at)) s) f, bocpd_reported(s) r;
SELECT count(*) AS reports FROM bocpd(pg_temp.signal(80, 50, 4)) b, LATERAL (SELECT pg_temp.fed(slice(pg_temp.signal(80, 50, 4), NULL, b.detected_at + interval '1 day')) s) f, bocpd_reported(s) r;
SELECT (SELECT array_agg(b.*) FROM bocpd(pg_temp.signal(80, 50, 4)) b) = (SELECT array_agg(b.*) FROM bocpd(pg_temp.signal(80, 50, 4), 0.004, 0.5) b) AS same;

-- The first point, in text: 1, flags 0, 2 dimensions. NULL points change nothing, NULL options are the defaults.
SELECT left(bocpd_update(NULL, '2026-01-01', '[1,2]')::text, 16) AS header, length(bocpd_update(NULL, '2026-01-01', '[1,2]')::text) AS digits;
SELECT bocpd_update(NULL, NULL, '[1,2]') IS NULL AS "no time", bocpd_update(NULL, '2026-01-01', NULL) IS NULL AS "no vector",
       bocpd_update(s, NULL, NULL)::text = s::text AS unchanged, bocpd_update(NULL, '2026-01-01', '[1,2]', NULL, NULL)::text = s::text AS defaults,
       s::text::bocpd_state::text = s::text AS lossless, bocpd_num_points(NULL) IS NULL AS "null"
FROM (SELECT bocpd_update(NULL, '2026-01-01', '[1,2]') s) f;
-- Hazard and threshold are those of the beginning.
SELECT bocpd_update(s, '2026-01-02', '[2,1]', 0.1, 0.9)::text = bocpd_update(s, '2026-01-02', '[2,1]')::text AS kept,
       bocpd_update(NULL, '2026-01-01', '[1,2]', 0.1, 0.9)::text = s::text AS same
FROM (SELECT bocpd_update(NULL, '2026-01-01', '[1,2]') s) f;
SELECT (SELECT count(*) FROM bocpd(NULL)) AS "null", (SELECT count(*) FROM bocpd('{}')) AS empty, (SELECT count(*) FROM bocpd('{[1]@2026-01-01}')) AS one,
       (SELECT count(*) FROM bocpd(pg_temp.signal(80, 50, 4), NULL)) AS hazard, (SELECT count(*) FROM bocpd(pg_temp.signal(80, 50, 4), threshold => NULL)) AS threshold;

-- What cannot be taken.
CALL pg_temp.raises($$SELECT bocpd_update(bocpd_update(NULL, '2026-01-02', '[1,2]'), '2026-01-02', '[1,2]')$$);
CALL pg_temp.raises($$SELECT bocpd_update(bocpd_update(NULL, '2026-01-02', '[1,2]'), '2026-01-01', '[1,2]')$$);
CALL pg_temp.raises($$SELECT bocpd_update(bocpd_update(NULL, '2026-01-01', '[1,2]'), '2026-01-02', '[1,2,3]')$$);
CALL pg_temp.raises($$SELECT bocpd_update(NULL, 'infinity', '[1,2]')$$);
CALL pg_temp.raises($$SELECT bocpd_update(NULL, '2026-01-01', '[1,2]', hazard => 0)$$);
CALL pg_temp.raises($$SELECT bocpd_update(NULL, '2026-01-01', '[1,2]', threshold => 'NaN')$$);
CALL pg_temp.raises($$SELECT * FROM bocpd('{}', hazard => 1)$$);
CALL pg_temp.raises($$SELECT * FROM bocpd('{[1]@2026-01-01}', threshold => 1.5)$$);
CALL pg_temp.raises($$SELECT ''::bocpd_state$$);
CALL pg_temp.raises($$SELECT 'state'::bocpd_state$$);
CALL pg_temp.raises($$SELECT '01'::bocpd_state$$);
CALL pg_temp.raises($$SELECT overlay(bocpd_update(NULL, '2026-01-01', '[1,2]')::text PLACING '02' FROM 1)::bocpd_state$$);
CALL pg_temp.raises($$SELECT overlay(bocpd_update(NULL, '2026-01-01', '[1,2]')::text PLACING '01' FROM 9)::bocpd_state$$);
CALL pg_temp.raises($$SELECT (bocpd_update(NULL, '2026-01-01', '[1,2]')::text || '00')::bocpd_state$$);
