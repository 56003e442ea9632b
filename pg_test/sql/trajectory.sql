-- The type trajectory: input, output, operators, aggregate, accessors.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all

-- Input

SELECT '{}'::trajectory;
SELECT '  {  }  '::trajectory;
SELECT '{[1]@2026-01-01}'::trajectory;
SELECT '{[1,2,3]@2026-01-01 00:00:00+00, [4,5,6]@2026-01-02 00:00:00+00}'::trajectory;
SELECT E'\t{ [ 1 , 2 ] @ 2026-01-01 ,\n[ 3 , 4 ] @ 2026-01-02 } '::trajectory;
SELECT '{[1,2]@"2026-01-01"}'::trajectory;
SELECT '{[+1.50,-.5,5.,1e3,1E-3,-0,0]@2026-01-01}'::trajectory;
SELECT '{[0.1,3.4028235e38,-3.4028235e38,1.17549435e-38,1e-45,16777217,1e-50]@2026-01-01}'::trajectory;
SELECT '{[1]@Jan 1 2026 10:20:30.123456 CET}'::trajectory;
SELECT '{[1]@20260101T102030Z}'::trajectory;
SELECT '{[1]@epoch}'::trajectory;
SELECT '{[1]@4714-11-24 00:00:00+00 BC, [2]@4713-01-01 00:00:00+00 BC, [3]@294276-12-31 23:59:59.999999+00}'::trajectory;
SELECT '{[1]@2026-01-01 00:00:00.000001, [2]@2026-01-01 00:00:00.000002}'::trajectory;

CALL pg_temp.raises($$SELECT ''::trajectory$$);
CALL pg_temp.raises($$SELECT ' '::trajectory$$);
CALL pg_temp.raises($$SELECT '{'::trajectory$$);
CALL pg_temp.raises($$SELECT '}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{}}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{} {}'::trajectory$$);
CALL pg_temp.raises($$SELECT '[1]@2026-01-01'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1,]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[,1]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1 2]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1;2]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1,2@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1,2]}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1,2]@}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1,2]@2026-01-01'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1,2]@2026-01-01,}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1]@2026-01-01,,[2]@2026-01-02}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[a]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1,é]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[0x10]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1e]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1_000]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[NaN]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1,Infinity]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1,-inf]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[3.5e38]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1]@yesterdayish}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1]@2026-02-30}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1]@294277-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1]@4714-11-23 BC}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1]@infinity}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1]@-infinity}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1]@2026-01-01,[1,2]@2026-01-02}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1]@2026-01-01,[1]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1]@2026-01-01 12:00+00,[1]@2026-01-01 14:00+02}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1]@2026-01-02,[1]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises(format('SELECT %L::trajectory', '{[' || repeat('x', 500)));
CALL pg_temp.raises(format('SELECT %L::trajectory', '{[1]@' || repeat('2', 500) || '}'));
-- A plain error, as psql shows it.
SELECT '{[1,]@2026-01-01}'::trajectory;

-- 16000 dimensions are the most, as in pgvector.
SELECT dims(format('{[%s]@2026-01-01}', string_agg('1', ','))::trajectory) FROM generate_series(1, 16000);
CALL pg_temp.raises(format('SELECT %L::trajectory', '{[1' || repeat(',1', 16000) || ']@2026-01-01}'));

-- Text is lossless whatever the session's settings are.
CREATE TABLE lossless AS SELECT
    '{[0.1,-0.3333333]@4713-01-01 BC, [1e-45,3.4028235e38]@1883-11-18 12:03:57, [7,8]@2026-03-29 01:30:00.000001, [9,10]@294276-12-31}'::trajectory AS t;
CREATE FUNCTION pg_temp.is_lossless() RETURNS bool LANGUAGE sql AS
    $$SELECT t = t::text::trajectory AND t::text = t::text::trajectory::text FROM lossless$$;
SELECT t, pg_temp.is_lossless() FROM lossless;
SET timezone = 'America/New_York';
SELECT t, pg_temp.is_lossless() FROM lossless;
SET timezone = 'Asia/Kathmandu';
SELECT t, pg_temp.is_lossless() FROM lossless;
SET timezone = '+05:30';
SET datestyle = 'German';
SET extra_float_digits = -15;
SELECT t, pg_temp.is_lossless() FROM lossless;
SET datestyle = 'SQL, DMY';
SELECT pg_temp.is_lossless() FROM lossless;
SET datestyle = 'Postgres, MDY';
SELECT pg_temp.is_lossless() FROM lossless;
CALL pg_temp.raises($$SELECT '{[1]@2026-01-01 00:00:00+00,[1]@2026-01-01 00:00:00+00}'::trajectory$$);
RESET timezone;
RESET extra_float_digits;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SELECT t, pg_temp.is_lossless() FROM lossless;
DROP TABLE lossless CASCADE;

-- Binary form: version, reserved, dims, n; times; values; all in network byte order.
SELECT encode(trajectory_send('{}'), 'hex');
SELECT encode(trajectory_send('{[1,-2]@2000-01-01 00:00:00.000001+00, [0.5,0]@2000-01-02 00:00:00+00}'), 'hex');

-- Comparison and hashing

SELECT '{}'::trajectory = '{}', '{}'::trajectory <> '{}';
SELECT '{[1]@2026-01-01}'::trajectory = '{[1]@2026-01-01 01:00+01}', '{[0]@2026-01-01}'::trajectory = '{[-0]@2026-01-01}';
SELECT '{[1]@2026-01-01}'::trajectory = '{[2]@2026-01-01}' AS "value",
       '{[1]@2026-01-01}'::trajectory = '{[1]@2026-01-02}' AS "time",
       '{[1]@2026-01-01}'::trajectory = '{[1,1]@2026-01-01}' AS dims,
       '{[1]@2026-01-01}'::trajectory = '{[1]@2026-01-01,[1]@2026-01-02}' AS points,
       '{[1]@2026-01-01}'::trajectory = '{}' AS empty,
       '{[1]@2026-01-01}'::trajectory = NULL AS "null";
SELECT trajectory_hash('{[0]@2026-01-01}') = trajectory_hash('{[-0]@2026-01-01}') AS zeros,
       trajectory_hash('{[1]@2026-01-01}') = (trajectory_hash_extended('{[1]@2026-01-01}', 0) & 4294967295)::bit(32)::int AS is_low_half,
       trajectory_hash_extended('{}', 1) <> trajectory_hash_extended('{}', 2) AS seeded;
SELECT count(DISTINCT trajectory_hash(format('{[%s,%s]@2026-01-01}', i, -i)::trajectory)) FROM generate_series(1, 1000) i;
-- There is no order: sorting says so.
CALL pg_temp.raises($$SELECT '{}'::trajectory < '{}'$$);
CALL pg_temp.raises($$SELECT t FROM (VALUES ('{}'::trajectory)) v(t) ORDER BY t$$);

CREATE TABLE many AS
    SELECT i, format('{[%s,1]@2026-01-01, [0,%s]@2026-01-02}', i % 100, i % 50)::trajectory AS t
    FROM generate_series(0, 999) i;
INSERT INTO many VALUES (1000, NULL), (1001, '{}'), (1002, '{}');
ANALYZE many;
SELECT count(*), count(DISTINCT n) AS sizes FROM (SELECT t, count(*) AS n FROM many GROUP BY t) g;
SELECT count(*) FROM (SELECT DISTINCT t FROM many) d;
SELECT count(*) FROM (SELECT t FROM many INTERSECT SELECT t FROM many WHERE i < 50) s;
SET enable_sort = off;
SELECT pg_temp.plan_has('SELECT t, count(*) FROM many GROUP BY t', 'HashAggregate');
RESET enable_sort;
SET enable_nestloop = off;
SELECT pg_temp.plan_has('SELECT count(*) FROM many a JOIN many b ON a.t = b.t WHERE a.i < 10', 'Hash Join');
SELECT count(*) FROM many a JOIN many b ON a.t = b.t WHERE a.i < 10;
RESET enable_nestloop;
CREATE INDEX many_t_idx ON many USING hash (t);
SET enable_seqscan = off;
SELECT pg_temp.plan_has($$SELECT i FROM many WHERE t = '{[7,1]@2026-01-01, [0,7]@2026-01-02}'$$, 'many_t_idx');
SELECT count(*), min(i) FROM many WHERE t = '{[7,1]@2026-01-01, [0,7]@2026-01-02}';
SELECT count(*) FROM many WHERE t = '{}';
RESET enable_seqscan;
CALL pg_temp.raises($$CREATE INDEX ON many (t)$$);
CREATE TABLE parted (t trajectory) PARTITION BY HASH (t);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parted SELECT t FROM many;
SELECT (SELECT count(*) FROM parted_0) > 200 AS first_has, (SELECT count(*) FROM parted_1) > 200 AS second_has,
       (SELECT count(*) FROM parted) AS rows;
DROP TABLE parted, many;

-- Stored as it is: out of line when it is long, never compressed; dumped and read back by COPY, text and binary.
SELECT typstorage, typalign, typlen, typcategory FROM pg_type WHERE oid = 'cvx.trajectory'::regtype;
CREATE TABLE stored (i int, t trajectory);
INSERT INTO stored SELECT n, trajectory_agg('2026-01-01'::timestamptz + d * interval '1 day', array_fill(d / 7.0, ARRAY[n])::vector)
    FROM unnest(ARRAY[1, 3, 700]) n, generate_series(1, 30) d GROUP BY n;
INSERT INTO stored VALUES (0, '{}'), (-1, NULL);
SELECT i, num_points(t), dims(t), pg_column_size(t), round(path_length(t)::numeric, 3) AS path_length FROM stored ORDER BY i;

-- The aggregate

SELECT trajectory_agg(ts, vec) FROM (VALUES ('2026-01-03'::timestamptz, '[3]'::vector), ('2026-01-01', '[1]'), ('2026-01-02', '[2]')) v(ts, vec);
SELECT trajectory_agg(ts, vec) FROM (VALUES (NULL::timestamptz, '[3]'::vector), ('2026-01-01', NULL), ('2026-01-02', '[2]'), (NULL, NULL)) v(ts, vec);
SELECT trajectory_agg(ts, vec) FROM (VALUES (NULL::timestamptz, '[3]'::vector), ('2026-01-01', NULL)) v(ts, vec);
SELECT trajectory_agg(now(), '[1]') FROM generate_series(1, 0);
SELECT k, trajectory_agg(now(), '[1]') FROM generate_series(1, 0) k GROUP BY k;
SELECT trajectory_agg(ts, vec) FILTER (WHERE vec <> '[2]') FROM (VALUES ('2026-01-01'::timestamptz, '[1]'::vector), ('2026-01-02', '[2]')) v(ts, vec);
SELECT trajectory_agg(ts, vec ORDER BY vec) FROM (VALUES ('2026-01-01'::timestamptz, '[2]'::vector), ('2026-01-02', '[1]')) v(ts, vec);
SELECT trajectory_agg(DISTINCT ts, vec) FROM (VALUES ('2026-01-01'::timestamptz, '[1]'::vector), ('2026-01-01', '[1]')) v(ts, vec);
CALL pg_temp.raises($$SELECT trajectory_agg(ts, vec) FROM (VALUES ('2026-01-01'::timestamptz, '[1]'::vector), ('2026-01-02', '[2,3]')) v(ts, vec)$$);
CALL pg_temp.raises($$SELECT trajectory_agg(ts, vec) FROM (VALUES ('2026-01-01'::timestamptz, '[1]'::vector), ('2026-01-02', '[2]'), ('2026-01-01', '[1]')) v(ts, vec)$$);
CALL pg_temp.raises($$SELECT trajectory_agg('infinity', '[1]')$$);
CALL pg_temp.raises($$SELECT trajectory_agg('-infinity', '[1]')$$);
CALL pg_temp.raises($$SELECT trajectory_agg('2026-01-01', '[NaN]')$$);
CALL pg_temp.raises($$SELECT trajectory_agg('2026-01-01', '[Infinity]')$$);
SELECT trajectory_agg(ts, '[1]') FROM (VALUES ('294276-12-31'::timestamptz), ('4714-11-24 00:00:00+00 BC')) v(ts);
-- As a window function: a growing frame, then a moving one.
SELECT i, trajectory_agg(ts, vec) OVER (ORDER BY i DESC) AS growing,
       num_points(trajectory_agg(ts, vec) OVER (ORDER BY i ROWS 1 PRECEDING)) AS moving
FROM (SELECT i, '2026-01-01'::timestamptz + i * interval '1 day' AS ts, array_fill(i, ARRAY[1])::vector AS vec FROM generate_series(1, 3) i) s
ORDER BY i;
-- Its parts hold pointers: nothing but an aggregate can call them.
CREATE FUNCTION pg_temp.any_internal() RETURNS text LANGUAGE sql AS
    $$SELECT string_agg(oid::regprocedure::text, ' ') FROM pg_proc WHERE pronamespace = 'cvx'::regnamespace
      AND proname LIKE '\_trajectory%fn' AND NOT 'internal'::regtype = ANY (proargtypes)$$;
SELECT pg_temp.any_internal();

-- Parallel plans, spilled hash tables and serial ones agree, on groups met in any order.
CREATE TABLE raw AS
    SELECT i % 17 AS k, '2026-01-01'::timestamptz + ((i * 7919) % 10007) * interval '1 minute' AS ts,
           ARRAY[i % 5, i % 7, sin(i)]::vector AS vec
    FROM generate_series(1, 10000) i;
INSERT INTO raw SELECT k, NULL, vec FROM raw WHERE k < 3;
INSERT INTO raw SELECT 99, ts, NULL FROM raw LIMIT 5;
ALTER TABLE raw SET (parallel_workers = 2);
ANALYZE raw;
CREATE TABLE serial AS SELECT k, trajectory_agg(ts, vec) AS t FROM raw GROUP BY k;
SELECT count(*), count(t), sum(num_points(t)), bool_and(num_points(t) = 588 OR num_points(t) = 589) AS sizes FROM serial;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SELECT pg_temp.plan_has('SELECT k, trajectory_agg(ts, vec) FROM raw GROUP BY k', 'Finalize', 'Partial', 'Parallel Seq Scan');
SELECT count(*) AS differing FROM serial s FULL JOIN (SELECT k, trajectory_agg(ts, vec) AS t FROM raw GROUP BY k) p USING (k)
    WHERE s.t IS DISTINCT FROM p.t;
SELECT num_points(trajectory_agg(ts, vec)) FROM (SELECT DISTINCT ON (ts) ts, vec FROM raw WHERE ts IS NOT NULL) d;
CALL pg_temp.raises($$SELECT k, trajectory_agg(date_trunc('day', ts), vec) FROM raw WHERE k = 0 GROUP BY k$$);
-- What needs the first and the last point only keeps no more, and says the same, errors included.
SELECT pg_temp.plan_has('SELECT k, drift(trajectory_agg(ts, vec)) FROM raw GROUP BY k', 'Finalize', 'Partial', '_trajectory_ends_agg');
SELECT pg_temp.plan_has('SELECT k, path_length(trajectory_agg(ts, vec)) FROM raw GROUP BY k', '_trajectory_ends_agg');
CALL pg_temp.raises($$SELECT k, drift(trajectory_agg(date_trunc('day', ts), vec)) FROM raw WHERE k = 0 GROUP BY k$$);
CALL pg_temp.raises($$SELECT drift(trajectory_agg(ts, CASE WHEN k = 1 THEN vec ELSE '[1]' END)) FROM (SELECT DISTINCT ON (k) * FROM raw WHERE vec IS NOT NULL AND ts IS NOT NULL ORDER BY k, ts) d$$);
SELECT count(*) AS differing FROM serial s FULL JOIN
    (SELECT k, drift(trajectory_agg(ts, vec)) AS d, drift(trajectory_agg(ts, vec), 'l2') AS l2,
            start_ts(trajectory_agg(ts, vec)) AS start_ts, end_ts(trajectory_agg(ts, vec)) AS end_ts,
            duration(trajectory_agg(ts, vec)) AS duration, dims(trajectory_agg(ts, vec)) AS dims,
            drift_entropy(trajectory_agg(ts, vec)) AS entropy FROM raw GROUP BY k) p USING (k)
    WHERE (drift(s.t), drift(s.t, 'l2'), start_ts(s.t), end_ts(s.t), duration(s.t), dims(s.t), drift_entropy(s.t))
        IS DISTINCT FROM (p.d, p.l2, p.start_ts, p.end_ts, p.duration, p.dims, p.entropy);
RESET max_parallel_workers_per_gather;
RESET min_parallel_table_scan_size;
RESET parallel_tuple_cost;
RESET parallel_setup_cost;
SET max_parallel_workers_per_gather = 0;
SET enable_sort = off;
SET work_mem = '64kB';
SET hash_mem_multiplier = 1;
CREATE TABLE fine AS SELECT i % 2000 AS k, '2026-01-01'::timestamptz + i * interval '1 minute' AS ts, ARRAY[i, -i]::vector AS vec
    FROM generate_series(1, 20000) i;
ANALYZE fine;
-- More than one batch: the table did not fit.
CREATE FUNCTION pg_temp.batches(query text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (ANALYZE, FORMAT JSON) ' || query INTO plan;
    RETURN jsonb_path_query_first(plan::jsonb, '$.**."HashAgg Batches"');
END
$$;
SELECT pg_temp.batches('SELECT k, trajectory_agg(ts, vec) FROM fine GROUP BY k') > 1 AS spilled;
SELECT count(*), sum(num_points(t)), round(sum(path_length(t))) = round(2000 * 9 * 2000 * sqrt(2::float8)) AS right
    FROM (SELECT k, trajectory_agg(ts, vec) AS t FROM fine GROUP BY k) g;
SELECT pg_temp.batches('SELECT k, drift(trajectory_agg(ts, vec)) FROM fine GROUP BY k') > 1 AS spilled;
SELECT min(duration), max(duration), min(l2), max(l2) FROM
    (SELECT duration(trajectory_agg(ts, vec)) AS duration, pg_temp.r6(drift(trajectory_agg(ts, vec), 'l2')) AS l2 FROM fine GROUP BY k) g;
RESET work_mem;
RESET hash_mem_multiplier;
RESET enable_sort;
RESET max_parallel_workers_per_gather;
DROP TABLE raw, serial, fine;

-- Accessors

CREATE TABLE cases (name text, t trajectory);
INSERT INTO cases VALUES
    ('null', NULL),
    ('empty', '{}'),
    ('one', '{[1,2]@2026-01-01}'),
    ('two', '{[1,2]@2026-01-01, [3,6]@2026-01-03}'),
    ('more', '{[1,2]@2026-01-01, [3,6]@2026-01-03, [0,0]@2026-01-03 06:30:00.000001}'),
    ('widest', '{[1,2]@4714-11-24 00:00:00+00 BC, [3,4]@294276-12-31 23:59:59.999999+00}');
SELECT name, num_points(t), dims(t), start_ts(t), end_ts(t), duration(t) FROM cases;
SELECT name, p.* FROM cases, points(t) p;
SELECT name, p.* FROM cases LEFT JOIN points(t) p ON true WHERE ts IS NULL;
SELECT ts, vec FROM points('{[1]@2026-01-01, [2]@2026-01-02, [3]@2026-01-03}') LIMIT 1;
SELECT trajectory_agg(ts, vec) = t FROM cases, points(t) WHERE name = 'more' GROUP BY t;

SELECT name, slice(t) = t AS whole, slice(t, '2026-01-02') AS from_ts, slice(t, NULL, '2026-01-03') AS to_ts,
       slice(t, '2026-01-01', '2026-01-01') AS one FROM cases;
SELECT slice(t, '2026-01-03', '2026-01-01') AS backwards, slice(t, '2030-01-01') AS after, slice(t, NULL, '1999-01-01') AS before,
       slice(t, '-infinity', 'infinity') = t AS infinite, slice(t, 'infinity') AS none,
       slice(t, to_ts => '2026-01-02') AS named FROM cases WHERE name = 'more';

SELECT name, value_at(t, '2026-01-01') AS at_first, value_at(t, '2026-01-02') AS between, value_at(t, '2026-01-03') AS at_point,
       value_at(t, '2025-12-31') AS before, value_at(t, '2027-01-01') AS after, value_at(t, NULL) AS "null" FROM cases WHERE name <> 'widest';
SELECT value_at(t, '2026-01-01') AS far_between, value_at(t, 'infinity') AS infinite, value_at(t, '-infinity') AS minus FROM cases WHERE name = 'widest';

SELECT name, resample(t, '12 hours') FROM cases WHERE name <> 'widest';
SELECT resample('{[0]@2026-01-01, [10]@2026-01-02}', '7 hours'), resample('{[0]@2026-01-01, [10]@2026-01-02}', '2 days'),
       resample('{[0]@2026-01-01}', '1 microsecond'), resample('{}', NULL);
SELECT resample(t, '100000000 days') FROM cases WHERE name = 'widest';
CALL pg_temp.raises($$SELECT resample('{[0]@2026-01-01}', '0')$$);
CALL pg_temp.raises($$SELECT resample('{[0]@2026-01-01}', '-1 day')$$);
CALL pg_temp.raises($$SELECT resample('{[0]@2026-01-01}', '1 month')$$);
CALL pg_temp.raises($$SELECT resample('{[0]@2026-01-01}', '1 day -24 hours')$$);
CALL pg_temp.raises($$SELECT resample(t, '1 microsecond') FROM cases WHERE name = 'widest'$$);

SELECT append('{}', '2026-01-01', '[1,2]'), append('{[1]@2026-01-01}', '2026-01-02', '[2]'), append('{[1]@2026-01-01}', NULL, '[2]'),
       append(NULL, '2026-01-02', '[2]'), append('{[1]@2026-01-01}', '2026-01-02', NULL);
CALL pg_temp.raises($$SELECT append('{[1]@2026-01-01}', '2026-01-01', '[2]')$$);
CALL pg_temp.raises($$SELECT append('{[1]@2026-01-02}', '2026-01-01', '[2]')$$);
CALL pg_temp.raises($$SELECT append('{[1]@2026-01-01}', '2026-01-02', '[1,2]')$$);
CALL pg_temp.raises($$SELECT append('{[1]@2026-01-01}', 'infinity', '[1]')$$);
SELECT dims(append('{}', '2026-01-01', array_fill(1, ARRAY[16000])::vector));

SELECT '{[1]@2026-01-01}'::trajectory || '{[2]@2026-01-02}' AS in_order, '{[2]@2026-01-02}'::trajectory || '{[1]@2026-01-01}' AS backwards,
       '{}'::trajectory || '{[2]@2026-01-02}' AS "left", '{[2]@2026-01-02}'::trajectory || '{}' AS "right", '{}'::trajectory || '{}' AS "none",
       '{[2]@2026-01-02}'::trajectory || NULL::trajectory AS "null";
CALL pg_temp.raises($$SELECT '{[1]@2026-01-01}'::trajectory || '{[2]@2026-01-01}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1]@2026-01-01,[2]@2026-01-03}'::trajectory || '{[2]@2026-01-02}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[2]@2026-01-02}'::trajectory || '{[1]@2026-01-01,[2]@2026-01-03}'::trajectory$$);
CALL pg_temp.raises($$SELECT '{[1]@2026-01-01}'::trajectory || '{[2,3]@2026-01-02}'::trajectory$$);

-- Corrupt bytes under the type's name are refused, not followed.
CREATE FUNCTION pg_temp.forge(bytea, bytea) RETURNS trajectory LANGUAGE internal IMMUTABLE AS 'byteacat';
SELECT pg_temp.forge('\x010000000000000000000000', '') = '{}' AS empty;
SELECT num_points(pg_temp.forge('\x010001000100000000000000', '\x00000000000000000000803f')) AS one;
CALL pg_temp.raises($$SELECT num_points(pg_temp.forge('', ''))$$);
CALL pg_temp.raises($$SELECT num_points(pg_temp.forge('\x01', ''))$$);
CALL pg_temp.raises($$SELECT num_points(pg_temp.forge('\x020000000000000000000000', ''))$$);
CALL pg_temp.raises($$SELECT num_points(pg_temp.forge('\x010100000000000000000000', ''))$$);
CALL pg_temp.raises($$SELECT num_points(pg_temp.forge('\x010000000000000000000001', ''))$$);
CALL pg_temp.raises($$SELECT num_points(pg_temp.forge('\x010001000000000000000000', ''))$$);
CALL pg_temp.raises($$SELECT pg_temp.forge('\x01000100ffffffff00000000', '')::text$$);
CALL pg_temp.raises($$SELECT pg_temp.forge('\x0100813e0100000000000000', '') = '{}'$$);
CALL pg_temp.raises($$SELECT drift(pg_temp.forge('\x010001000100000000000000', '\x0000000000000000000080'))$$);
CREATE CAST (bytea AS vector) WITHOUT FUNCTION;
CALL pg_temp.raises($$SELECT trajectory_agg('2026-01-01', '\x'::bytea::vector)$$);
CALL pg_temp.raises($$SELECT trajectory_agg('2026-01-01', '\x01000000'::bytea::vector)$$);
CALL pg_temp.raises($$SELECT trajectory_agg('2026-01-01', '\xffff000000000000'::bytea::vector)$$);
CALL pg_temp.raises($$SELECT trajectory_agg('2026-01-01', '\x0100010000000000'::bytea::vector)$$);
CALL pg_temp.raises($$SELECT trajectory_agg('2026-01-01', '\x010000000000807f'::bytea::vector)$$);
CALL pg_temp.raises($$SELECT trajectory_agg('2026-01-01', '\x010000000000c07f'::bytea::vector)$$);
CALL pg_temp.raises($$SELECT drift(trajectory_agg('2026-01-01', '\x010000000000c07f'::bytea::vector))$$);
DROP CAST (bytea AS vector);
DROP TABLE cases, stored;
