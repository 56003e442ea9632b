-- What a column of vectors holds, in any table.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all

CREATE FUNCTION pg_temp.report(t regclass, c name, ts name DEFAULT NULL, entity name DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT format('%s rows, %s null; dimensions %s; norms %s %s %s, %s zero; %s duplicates; models %s; of %s sampled mixed %s, share %s since %s',
        "rows", null_vectors, dimensions, pg_temp.r6(min_norm), pg_temp.r6(mean_norm), pg_temp.r6(max_norm), zero_vectors, duplicates, models, sampled, mixed, second_share, mixed_since)
    FROM space_report(t, c, ts, entity)
$$;

-- The plain figures, by hand: norms 5, 5, 0, 13, 13, 2 and two rows without a vector.
CREATE TABLE small (id int PRIMARY KEY, embedding vector, created_at timestamptz, made date, owner text, model_version text, model_hash text);
INSERT INTO small VALUES (1, '[3,4]', '2026-01-01', '2026-01-01', 'a', 'v1', NULL), (2, '[3,4]', '2026-01-02', '2026-01-02', 'a', 'v1', NULL), (3, '[0,0]', NULL, NULL, NULL, NULL, NULL),
    (4, '[5,12]', '2026-01-04', '2026-01-04', 'b', 'v1', 'h'), (5, '[5,12,0]', '2026-01-05', '2026-01-05', 'b', 'v2', NULL), (6, '[2]', '2026-01-06', '2026-01-06', 'c', '', ''), (7, NULL, NULL, NULL, 'c', 'v1', NULL), (8, NULL, NULL, NULL, 'c', NULL, NULL);
\x on
SELECT * FROM space_report('small', 'embedding');
\x off
SELECT pg_temp.report('small', 'embedding', 'created_at', 'owner');
-- A date as time, a number as entity.
SELECT pg_temp.report('small', 'embedding', 'made', 'id') = pg_temp.report('small', 'embedding') AS same_figures;
-- The most frequent dimension is looked at, of as many rows as asked for.
SELECT sampled, dimensions, false_alarm_rate, mixed FROM space_report('small', 'embedding', sample_rows => 3, alpha => 0.2);
SELECT sampled FROM space_report('small', 'embedding', sample_rows => 10000);

-- Half precision, partitions, views, names that need quotes, nothing at all.
CREATE TABLE halves AS SELECT embedding::halfvec FROM small;
SELECT pg_temp.report('halves', 'embedding');
CREATE TABLE parted (id int, vec vector(2)) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
INSERT INTO parted SELECT i, ARRAY[i, 1]::vector FROM generate_series(1, 19) i;
SELECT pg_temp.report('parted', 'vec');
SELECT pg_temp.report('parted_2', 'vec');
CREATE VIEW seen AS SELECT id, vec AS "the vec" FROM parted WHERE id < 5;
SELECT pg_temp.report('seen', 'the vec');
CREATE MATERIALIZED VIEW kept AS SELECT * FROM seen;
SELECT pg_temp.report('kept', 'the vec');
CREATE SCHEMA "a ""schema""; --";
CREATE TABLE "a ""schema""; --"."SELECT * FROM t; '" ("v "" e c'); DROP TABLE small; --" vector, "when" timestamptz, "Group" text);
INSERT INTO "a ""schema""; --"."SELECT * FROM t; '" VALUES ('[1,2]', now(), 'x');
SELECT pg_temp.report('"a ""schema""; --"."SELECT * FROM t; ''"', 'v " e c''); DROP TABLE small; --', 'when', 'Group');
SELECT count(*) FROM small;
CREATE TABLE nothing (embedding vector, model_version text);
SELECT pg_temp.report('nothing', 'embedding');
INSERT INTO nothing VALUES (NULL, 'v1'), (NULL, NULL), (NULL, 'v1'), (NULL, NULL);
SELECT pg_temp.report('nothing', 'embedding');
-- A column of this name of another type, and one that was dropped.
ALTER TABLE nothing DROP COLUMN model_version;
ALTER TABLE nothing ADD model_version int DEFAULT 3;
SELECT models FROM space_report('nothing', 'embedding');
-- What a report may trip on: numbers as large and as small as they come, equal rows, one row.
CREATE TABLE odd (embedding vector);
INSERT INTO odd VALUES ('[3e38,3e38]'), ('[1e-45,0]'), ('[-0,0]'), ('[0,0]');
SELECT "rows", pg_temp.r6(min_norm) AS min, max_norm > 4e38 AS max, zero_vectors, duplicates, mixed FROM space_report('odd', 'embedding');
TRUNCATE odd;
INSERT INTO odd SELECT array_fill(1, ARRAY[64])::vector FROM generate_series(1, 500);
SELECT "rows", duplicates, sampled, mixed FROM space_report('odd', 'embedding');
-- cvx.embedding itself, and a partition of it.
SELECT count(create_space(name, 2)) FROM unnest(ARRAY['r1', 'r2']) name;
INSERT INTO embedding (space_id, entity_id, ts, vec, model_version, model_hash) SELECT space_id('r' || i % 2 + 1), 'e' || i, '2026-01-01', ARRAY[i, 1]::vector, 'v' || i % 2, CASE WHEN i % 4 = 0 THEN 'h' END FROM generate_series(1, 8) i;
SELECT pg_temp.report('cvx.embedding', 'vec', 'ts', 'entity_id');
SELECT pg_temp.report('cvx_space.r1', 'vec', 'ts', 'entity_id');
SELECT count(drop_space(name, cascade => true)) FROM space;

-- What is refused.
CALL pg_temp.raises($$SELECT space_report(NULL, 'embedding')$$);
CALL pg_temp.raises($$SELECT space_report('small', NULL)$$);
CALL pg_temp.raises($$SELECT space_report('no_table', 'embedding')$$);
CALL pg_temp.raises($$SELECT space_report(4294967294::oid::regclass, 'embedding')$$);
CREATE TABLE no_columns ();
CALL pg_temp.raises($$SELECT space_report('no_columns', 'embedding')$$);
DROP TABLE no_columns;
CALL pg_temp.raises($$SELECT space_report('small', 'embeddings')$$);
CALL pg_temp.raises($$SELECT space_report('small', 'Embedding')$$);
CALL pg_temp.raises($$SELECT space_report('small', 'embedding', 'nope')$$);
CALL pg_temp.raises($$SELECT space_report('small', 'embedding', 'created_at', 'nope')$$);
CALL pg_temp.raises($$SELECT space_report('nothing', '........pg.dropped.2........')$$);
CALL pg_temp.raises($$SELECT space_report('small', 'ctid')$$);
CALL pg_temp.raises($$SELECT space_report('small', 'owner')$$);
CALL pg_temp.raises($$SELECT space_report('small', 'id')$$);
CALL pg_temp.raises($$SELECT space_report('small', 'embedding', 'owner')$$);
CALL pg_temp.raises($$SELECT space_report('small_pkey', 'id')$$);
CALL pg_temp.raises($$SELECT space_report('small', 'embedding', sample_rows => 0)$$);
CALL pg_temp.raises($$SELECT space_report('small', 'embedding', sample_rows => 10001)$$);
CALL pg_temp.raises($$SELECT space_report('small', 'embedding', sample_rows => NULL)$$);
CALL pg_temp.raises($$SELECT space_report('small', 'embedding', alpha => 0)$$);
CALL pg_temp.raises($$SELECT space_report('small', 'embedding', alpha => 1)$$);
CALL pg_temp.raises($$SELECT space_report('small', 'embedding', alpha => 'NaN')$$);
CALL pg_temp.raises($$SELECT space_report('small', 'embedding', alpha => NULL)$$);

-- A type of that name that is not pgvector's.
CREATE SCHEMA others;
CREATE TYPE others.vector AS (x int);
CREATE TABLE impostor (v others.vector);
INSERT INTO impostor VALUES (ROW(1));
CALL pg_temp.raises($$SELECT space_report('impostor', 'v')$$);
DROP TABLE impostor;

-- The function behind it takes a query, and only one that brings what it reads.
CALL pg_temp.raises($$SELECT _two_spaces('SELECT 1', 0.5)$$);
CALL pg_temp.raises($$SELECT _two_spaces('SELECT 1, 2, 3', 0.5)$$);
CALL pg_temp.raises($$SELECT _two_spaces('SELECT ''text''::text, now(), ''e''::text WHERE false', 0.5)$$);
CALL pg_temp.raises($$SELECT _two_spaces('SELECT embedding, made, owner FROM small', 0.5)$$);
CALL pg_temp.raises($$SELECT _two_spaces('SELECT embedding, created_at, owner, id FROM small', 0.5)$$);
CALL pg_temp.raises($$SELECT _two_spaces('SELECT embedding::halfvec, created_at, owner FROM small', 0.5)$$);
CALL pg_temp.raises($$SELECT _two_spaces('', 0.5)$$);
CALL pg_temp.raises($$SELECT _two_spaces('SELECT embedding, created_at, owner FROM small; DROP TABLE small', 0.5)$$);
CALL pg_temp.raises($$SELECT _two_spaces('DROP TABLE small', 0.5)$$);
SELECT examined, mixed FROM _two_spaces('SELECT embedding, created_at, owner FROM small', 0.5);

-- Rights are the caller's; row-level security holds.
CREATE ROLE cvx_reporter;
SET ROLE cvx_reporter;
CALL pg_temp.raises($$SELECT space_report('small', 'embedding')$$);
RESET ROLE;
GRANT SELECT (id, embedding) ON small TO cvx_reporter;
SET ROLE cvx_reporter;
CALL pg_temp.raises($$SELECT space_report('small', 'embedding', 'created_at')$$);
RESET ROLE;
GRANT SELECT ON small TO cvx_reporter;
ALTER TABLE small ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON small TO cvx_reporter USING (id <= 2);
SET ROLE cvx_reporter;
SELECT pg_temp.report('small', 'embedding');
RESET ROLE;
DROP OWNED BY cvx_reporter;
DROP ROLE cvx_reporter;

-- Two spaces in one column: real texts, embedded by one model before a date and by another after it.
\getenv data CVX_TEST_DATA
SELECT count(create_space(name, 384)) FROM unnest(ARRAY['v1', 'v2']) name;
SELECT records_read = written AS loaded FROM unnest(ARRAY['v1', 'v2']) v, ingest_parquet(:'data' || '/changelog_' || v || '.parquet', v, 'package', 'uploaded_at', 'embedding') ORDER BY v;
SELECT percentile_disc(0.6) WITHIN GROUP (ORDER BY ts) AS swap FROM cvx_space.v1 \gset
CREATE TABLE texts AS SELECT entity_id, ts, vec::vector(384) AS v FROM cvx_space.v1 WHERE ts < :'swap' UNION ALL SELECT entity_id, ts, vec FROM cvx_space.v2 WHERE ts >= :'swap';
CREATE TABLE one_space AS SELECT entity_id, ts, vec AS v FROM cvx_space.v1;
SELECT sampled = least(2000, "rows") AS sampled, mixed, abs(statistic) < threshold AS below, false_alarm_rate, second_share BETWEEN 0.35 AND 0.45 AS share, mixed_since - :'swap' BETWEEN '-10 days' AND '10 days' AS since FROM space_report('texts', 'v', 'ts', 'entity_id');
SELECT mixed, second_share BETWEEN 0.35 AND 0.45 AS share, mixed_since FROM space_report('texts', 'v');
SELECT sampled, mixed, mixed_since - :'swap' BETWEEN '-30 days' AND '30 days' AS since FROM space_report('texts', 'v', 'ts', sample_rows => 500);
SELECT mixed, statistic >= threshold AS above, second_share, mixed_since FROM space_report('one_space', 'v', 'ts', 'entity_id');
-- The same rows, the same answer, in whatever order they stand.
CREATE TABLE shuffled AS SELECT * FROM texts ORDER BY md5(v::text);
SELECT (SELECT (mixed, statistic, threshold, second_share, mixed_since) FROM space_report('texts', 'v', 'ts')) = (SELECT (mixed, statistic, threshold, second_share, mixed_since) FROM space_report('shuffled', 'v', 'ts')) AS same;
SELECT count(drop_space(name, cascade => true)) FROM space;
TRUNCATE sync_run;

SET client_min_messages = warning;
DROP TABLE small, halves, parted, nothing, odd, texts, one_space, shuffled CASCADE;
DROP SCHEMA "a ""schema""; --", others CASCADE;
