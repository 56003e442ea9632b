-- Alignment of a known rotation, and projection along it.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all

-- The old model's vector of x is 2 R x + (1, 2, 3), with R a turn by the 3-4-5 angle in the first two dimensions.
CREATE FUNCTION pg_temp.x(i int) RETURNS real[] LANGUAGE sql AS $$SELECT ARRAY[sin(i), cos(2 * i), sin(3 * i + 1)]::real[]$$;
CREATE FUNCTION pg_temp.old(x real[]) RETURNS vector LANGUAGE sql AS $$
    SELECT ARRAY[1.2::float8 * x[1] - 1.6::float8 * x[2] + 1, 1.6::float8 * x[1] + 1.2::float8 * x[2] + 2, 2::float8 * x[3] + 3]::real[]::vector
$$;
CREATE FUNCTION pg_temp.anew() RETURNS text LANGUAGE sql AS $$
    DELETE FROM embedding;
    SELECT drop_model('m', 'v2');
    SELECT alignment_status FROM create_model('m', 'v2', 'new', 'v1');
$$;
CREATE VIEW pg_temp.tiers AS SELECT version, status, overlap_entities AS entities, pairs, pairs_by_input AS by_input, pairs_by_time AS by_time, pairs_by_mean AS by_mean FROM alignment;
SELECT count(create_space(name, dims)) FROM (VALUES ('old', 3), ('new', 3), ('newest', 3), ('branch', 3), ('flat', 2), ('alone', 3), ('foreign', 3)) s(name, dims);
SELECT version, alignment_status FROM create_model('m', 'v1', 'old');
SELECT version, alignment_status FROM create_model('m', 'v2', 'new', 'v1');
INSERT INTO embedding (space_id, entity_id, ts, vec)
    SELECT space_id('old'), 'e' || i, '2026-01-01'::timestamptz, pg_temp.old(pg_temp.x(i)) FROM generate_series(1, 130) i
    UNION ALL SELECT space_id('new'), 'e' || i, '2026-01-01', pg_temp.x(i)::vector FROM generate_series(1, 130) i;

-- Every method finds it.

SELECT m.method AS asked, a.method, a.status, a.overlap_entities, a.pairs, a.mean_residual < 1e-5 AS mean, a.p95_residual <= a.p99_residual AND a.p99_residual < 1e-5 AS p99, pg_temp.r6(a.mean_cosine) AS cosine, a.recall_at_10 BETWEEN 0.5 AND 1 AS recall
    FROM unnest(ARRAY['procrustes', 'affine', 'cca', 'auto']) WITH ORDINALITY m(method, n), align('m', 'v2', m.method) a ORDER BY n;
SELECT method, status FROM align('m', 'v2');
SELECT element, pg_temp.r6(weights) AS weights, pg_temp.r6("offset") AS "offset" FROM alignment_map('m', 'v2');
SELECT element, pg_temp.r6(weights) AS weights, pg_temp.r6("offset") AS "offset" FROM alignment_map('m', 'v2', inverse => true);
SELECT pg_temp.r6(scale) AS scale, ridge, correlations, rank, min_overlap, held_out_entities, held_out_pairs FROM alignment;
SELECT model, version, predecessor, status, method, overlap_entities, pairs, pg_temp.r6(mean_residual) AS mean, confidence, computed_at <= clock_timestamp() AS computed FROM alignment_quality('m');
SELECT method FROM align('m', 'v2', 'cca');
SELECT correlations::numeric(7, 6)[], scale, rank FROM alignment;
SELECT method FROM align('m', 'v2', 'affine');
SELECT scale, correlations, ridge IS NOT NULL AS has_ridge FROM alignment;

-- Confidence is a matter of entities; a fit replaces the one before.

SELECT revision FROM alignment \gset
SELECT status, confidence FROM align('m', 'v2', min_overlap => 131);
SELECT revision > :revision AS another_fit, min_overlap, status FROM alignment;
SELECT status, confidence FROM align('m', 'v2', 'procrustes', 130);
SELECT status, confidence FROM align('m', 'v2', 'procrustes', 2147483647);
SELECT status, confidence FROM align('m', 'v2', min_overlap => 1);

-- What is refused.

CALL pg_temp.raises($$SELECT align('m', 'v2', 'rotation')$$);
CALL pg_temp.raises($$SELECT align('m', 'v2', 'Procrustes')$$);
CALL pg_temp.raises($$SELECT align('m', 'v2', '')$$);
CALL pg_temp.raises($$SELECT align('m', 'v2', NULL)$$);
CALL pg_temp.raises($$SELECT align(NULL, 'v2')$$);
CALL pg_temp.raises($$SELECT align('m', NULL)$$);
CALL pg_temp.raises($$SELECT align('m', 'v2', min_overlap => NULL)$$);
CALL pg_temp.raises($$SELECT align('m', 'v2', min_overlap => 0)$$);
CALL pg_temp.raises($$SELECT align('m', 'v2', min_overlap => -1)$$);
CALL pg_temp.raises($$SELECT align('m', 'v1')$$);
CALL pg_temp.raises($$SELECT align('m', 'v3')$$);
CALL pg_temp.raises($$SELECT align('nothing', 'v2')$$);
CALL pg_temp.raises($$SELECT alignment_quality(NULL)$$);
CALL pg_temp.raises($$SELECT alignment_quality('nothing')$$);
CALL pg_temp.raises($$SELECT alignment_quality('m', 'v3')$$);
SELECT count(*) FROM alignment_quality('m', 'v1');
CALL pg_temp.raises($$SELECT alignment_map('m', 'v1')$$);
CALL pg_temp.raises($$SELECT alignment_map('m', 'v3')$$);
SELECT count(*) FROM alignment_map('m', NULL);

-- Other dimensions.

SELECT version, alignment_status FROM create_model('m', 'flat', 'flat', 'v1');
CALL pg_temp.raises($$SELECT align('m', 'flat')$$);
CALL pg_temp.raises($$SELECT alignment_map('m', 'flat')$$);
INSERT INTO embedding (space_id, entity_id, ts, vec) SELECT space_id('flat'), entity_id, ts, subvector(vec, 1, 2) FROM cvx_space.new;
SELECT m.method AS asked, a.status, a.pairs, a.mean_residual < 1.5 AS better_than_the_mean FROM unnest(ARRAY['affine', 'cca', 'auto']) m(method), align('m', 'flat', m.method) a;
SELECT vector_dims(project('[1,2]'::vector, 'flat', 'old')) AS up, vector_dims(project('[1,2,3]'::vector, 'old', 'flat')) AS down, count(*) AS rows, min(vector_dims(weights)) AS columns FROM alignment_map('m', 'flat');
SELECT drop_model('m', 'flat'), drop_space('flat', true);

-- Pairs: by input, else by time, else by the mean of the time that both have.

CREATE FUNCTION pg_temp.put(space text, entity_id text, ts timestamptz, i int, input_hash text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    INSERT INTO embedding (space_id, entity_id, ts, vec, input_hash)
    VALUES (space_id(space), put.entity_id, put.ts, CASE space WHEN 'old' THEN pg_temp.old(pg_temp.x(i)) ELSE pg_temp.x(i)::vector END, put.input_hash)
    RETURNING entity_id
$$;
SELECT pg_temp.anew();
-- Two inputs at other times, one of them repeated on both sides; a time that they share does not count besides.
SELECT count(pg_temp.put(s, 'by input', t::timestamptz, i, h)) FROM (VALUES
    ('old', '2026-01-01', 1, 'a'), ('old', '2026-01-02', 1, 'a'), ('old', '2026-01-03', 2, 'b'), ('old', '2026-01-04', 3, 'only old'), ('old', '2026-02-01', 4, NULL),
    ('new', '2026-03-01', 1, 'a'), ('new', '2026-03-02', 1, 'a'), ('new', '2026-03-03', 2, 'b'), ('new', '2026-03-04', 5, 'only new'), ('new', '2026-02-01', 4, NULL)) v(s, t, i, h);
SELECT status FROM align('m', 'v2');
SELECT * FROM pg_temp.tiers;
-- Hashes that differ leave it to the times.
SELECT count(pg_temp.put(s, 'by time', t::timestamptz, i, h)) FROM (VALUES
    ('old', '2026-01-01', 6, 'p'), ('old', '2026-01-02', 7, NULL), ('old', '2026-01-03', 8, 'q'),
    ('new', '2026-01-01', 6, 'r'), ('new', '2026-01-02', 7, NULL), ('new', '2026-01-04', 9, 's')) v(s, t, i, h);
SELECT status FROM align('m', 'v2');
SELECT * FROM pg_temp.tiers;
-- Means over 2026-01-03 to 2026-01-05: x(10) and x(11) on both sides, and neither what is before nor what is after.
SELECT count(pg_temp.put(s, 'by mean', t::timestamptz, i)) FROM (VALUES
    ('old', '2026-01-01', 90), ('old', '2026-01-03 12:00', 10), ('old', '2026-01-04', 11), ('old', '2026-01-05', 12),
    ('new', '2026-01-03', 12), ('new', '2026-01-04 12:00', 11), ('new', '2026-01-04 13:00', 10), ('new', '2026-01-06', 91)) v(s, t, i);
SELECT status, pg_temp.r6(project(pg_temp.x(40)::vector, 'new', 'old') - pg_temp.old(pg_temp.x(40))) AS off FROM align('m', 'v2');
SELECT * FROM pg_temp.tiers;
-- Never at one time together: no pair. In one of the spaces only: none either.
SELECT count(pg_temp.put(s, e, t::timestamptz, i)) FROM (VALUES ('old', 'apart', '2026-01-01', 13), ('new', 'apart', '2026-01-02', 13), ('old', 'old only', '2026-01-01', 14), ('new', 'new only', '2026-01-01', 15)) v(s, e, t, i);
-- A time that both have, and no row of one of them in it.
SELECT count(pg_temp.put(s, 'around', t::timestamptz, i)) FROM (VALUES ('old', '2026-01-01', 16), ('old', '2026-01-09', 17), ('new', '2026-01-04', 16)) v(s, t, i);
SELECT overlap_entities FROM align('m', 'v2');
SELECT * FROM pg_temp.tiers;

-- The cap takes one pair of every entity before it takes a second.

SELECT pg_temp.anew();
SELECT count(pg_temp.put(s, 'many', '2026-01-01'::timestamptz + i * interval '1 hour', i)) FROM unnest(ARRAY['old', 'new']) s, generate_series(1, 300) i;
SELECT count(pg_temp.put(s, 'few ' || i, '2026-01-01', 1000 + i)) FROM unnest(ARRAY['old', 'new']) s, generate_series(1, 60) i;
SELECT overlap_entities, pairs FROM align('m', 'v2');
SET cvx.alignment_max_pairs = 100;
SELECT overlap_entities, pairs FROM align('m', 'v2');
SELECT count(pg_temp.put(s, 'more ' || i, '2026-01-01', 2000 + i)) FROM unnest(ARRAY['old', 'new']) s, generate_series(1, 60) i;
SELECT overlap_entities, pairs FROM align('m', 'v2');
-- Which ones is the same from one time to the next, whatever the plan.
SELECT forward AS first_fit FROM alignment \gset
SET enable_hashjoin = off; SET enable_seqscan = off; SET enable_hashagg = off;
SELECT pairs FROM align('m', 'v2');
SELECT forward = :'first_fit' AS same FROM alignment;
RESET enable_hashjoin; RESET enable_seqscan; RESET enable_hashagg;
RESET cvx.alignment_max_pairs;
CALL pg_temp.raises('SET cvx.alignment_max_pairs = 99');

-- Too little to go by.

SELECT pg_temp.anew();
SELECT status, overlap_entities, confidence FROM align('m', 'v2');
CALL pg_temp.raises($$SELECT alignment_map('m', 'v2')$$);
-- One pair has no direction in which it varies.
SELECT count(pg_temp.put(s, 'a', '2026-01-01', 1)) FROM unnest(ARRAY['old', 'new']) s;
CALL pg_temp.raises($$SELECT align('m', 'v2')$$);
CALL pg_temp.raises($$SELECT align('m', 'v2', 'auto')$$);
SELECT status FROM alignment;
-- Two pairs have one: turned as it says, and the rest as little as that allows; what is measured is nothing.
SELECT count(pg_temp.put(s, 'b', '2026-01-01', 2)) FROM unnest(ARRAY['old', 'new']) s;
SELECT status, overlap_entities, pairs, mean_residual, recall_at_10 FROM align('m', 'v2');
SELECT rank, pg_temp.r6(scale) AS scale FROM alignment;
SELECT pg_temp.r6(project(pg_temp.x(i)::vector, 'new', 'old') - pg_temp.old(pg_temp.x(i))) AS off FROM generate_series(1, 2) i;
CREATE FUNCTION pg_temp.orthogonal(factor float8) RETURNS bool LANGUAGE sql AS $$
    SELECT bool_and(abs((a.weights <#> b.weights) + CASE WHEN a.element = b.element THEN factor * factor ELSE 0 END) < 1e-4) FROM alignment_map('m', 'v2') a, alignment_map('m', 'v2') b
$$;
SELECT pg_temp.orthogonal(scale) AS orthogonal FROM alignment;
SELECT pg_temp.r6(project(project('[1,2,3]'::vector, 'new', 'old'), 'old', 'new')) AS there_and_back;
-- Constant on one side, on both; the same pair again and again; two clouds that share nothing.
SELECT pg_temp.anew();
SELECT count(pg_temp.put('old', 'e' || i, '2026-01-01', i)), count(pg_temp.put('new', 'e' || i, '2026-01-01', 1)) FROM generate_series(1, 50) i;
CALL pg_temp.raises($$SELECT align('m', 'v2')$$);
CALL pg_temp.raises($$SELECT align('m', 'v2', 'affine')$$);
UPDATE cvx_space.new SET vec = pg_temp.x(substr(entity_id, 2)::int)::vector;
UPDATE cvx_space.old SET vec = '[1,2,3]';
CALL pg_temp.raises($$SELECT align('m', 'v2')$$);
UPDATE cvx_space.new SET vec = '[1,2,3]';
CALL pg_temp.raises($$SELECT align('m', 'v2', 'auto')$$);
SELECT status, method, pairs FROM alignment;
SELECT pg_temp.anew();
SELECT count(pg_temp.put(s, 'e' || i, '2026-01-01', i % 2)) FROM unnest(ARRAY['old', 'new']) s, generate_series(1, 50) i;
SELECT m.method AS asked, a.status, a.pairs, a.mean_residual < 1e-4 AS mean FROM unnest(ARRAY['procrustes', 'affine', 'cca', 'auto']) WITH ORDINALITY m(method, n), align('m', 'v2', m.method) a ORDER BY n;
SELECT pg_temp.anew();
INSERT INTO embedding (space_id, entity_id, ts, vec) SELECT space_id(s), 'e' || i, '2026-01-01', ARRAY[1, CASE s WHEN 'old' THEN i / 2 ELSE i % 2 END, 0]::real[]::vector
    FROM unnest(ARRAY['old', 'new']) s, generate_series(0, 3) i;
CALL pg_temp.raises($$SELECT align('m', 'v2')$$);

-- A fit that finds nothing leaves the map that there is.

SELECT pg_temp.anew();
SELECT count(pg_temp.put(s, 'e' || i, '2026-01-01', i)) FROM unnest(ARRAY['old', 'new']) s, generate_series(1, 120) i;
SELECT status FROM align('m', 'v2');
SELECT revision FROM alignment \gset
DELETE FROM cvx_space.new;
SELECT status, overlap_entities FROM align('m', 'v2', min_overlap => 5);
SELECT revision = :revision AS same_fit, min_overlap FROM alignment;
SELECT pg_temp.r6(project('[1,0,0]'::vector, 'new', 'old')) AS projected;

-- project: vectors and trajectories, both ways, along a chain and to a branch.
--
-- v1 <- v2 <- v3, and v1 <- w: v3's vectors are x shifted by (0, 0, 1), w's are -x.

SELECT count(pg_temp.put('new', 'e' || i, '2026-01-01', i)) FROM generate_series(1, 120) i;
SELECT version, alignment_status FROM create_model('m', 'v3', 'newest', 'v2');
SELECT version, alignment_status FROM create_model('m', 'w', 'branch', 'v1');
INSERT INTO embedding (space_id, entity_id, ts, vec) SELECT space_id('newest'), entity_id, ts, vec + '[0,0,1]' FROM cvx_space.new;
INSERT INTO embedding (space_id, entity_id, ts, vec) SELECT space_id('branch'), entity_id, ts, vec * '[-1,-1,-1]' FROM cvx_space.new;
CALL pg_temp.raises($$SELECT project('[1,2,3]'::vector, 'newest', 'branch')$$);
SELECT version, status FROM align('m', 'v3');
CALL pg_temp.raises($$SELECT project('[1,2,3]'::vector, 'newest', 'branch')$$);
SELECT version, status FROM align('m', 'w');
SELECT f AS "from", t AS "to", pg_temp.r6(project('[1,2,3]'::vector, f, t)) AS projected, pg_temp.r6(project(project('[1,2,3]'::vector, f, t), t, f)) AS back
    FROM unnest(ARRAY['old', 'new', 'newest', 'branch']) f, unnest(ARRAY['old', 'new', 'newest', 'branch']) t ORDER BY 1, 2;
-- A vector in its own space is not touched.
SELECT project('[0.1,1e-45,3.4e38]'::vector, 'new', 'new');
SELECT project('[1,2,3]'::vector, 'alone', 'alone');
SELECT ts, pg_temp.r6(vec) AS vec FROM points(project('{[1,2,3]@2026-01-01, [0,0,1]@2026-01-02 12:00}'::trajectory, 'newest', 'new'));
SELECT project('{[1,2,3]@2026-01-01}'::trajectory, 'new', 'new'), project('{}'::trajectory, 'newest', 'old');
SELECT bool_and(start_ts(t) = start_ts(p) AND num_points(p) = 120 AND value_at(p, ts) <-> project(vec, 'newest', 'old') < 1e-5) AS as_the_vectors_one_by_one
    FROM (SELECT t, project(t, 'newest', 'old') AS p FROM (SELECT trajectory_agg('2026-01-01'::timestamptz + i * interval '1 hour', pg_temp.x(i)::vector) AS t FROM generate_series(1, 120) i) a) b, points(t);
SELECT project(NULL::vector, 'new', 'old'), project('[1,2,3]'::vector, NULL, 'old'), project('[1,2,3]'::vector, 'new', NULL), project(NULL::trajectory, 'new', 'old');
CALL pg_temp.raises($$SELECT project('[1,2]'::vector, 'new', 'old')$$);
CALL pg_temp.raises($$SELECT project('[1,2]'::vector, 'new', 'new')$$);
CALL pg_temp.raises($$SELECT project('{[1]@2026-01-01}'::trajectory, 'new', 'old')$$);
CALL pg_temp.raises($$SELECT project('[1,2,3]'::vector, 'nowhere', 'old')$$);
CALL pg_temp.raises($$SELECT project('[1,2,3]'::vector, 'new', 'nowhere')$$);
CALL pg_temp.raises($$SELECT project('[1,2,3]'::vector, 'alone', 'old')$$);
CALL pg_temp.raises($$SELECT project('[1,2,3]'::vector, 'new', 'alone')$$);
CALL pg_temp.raises($$SELECT project('[3e38,0,0]'::vector, 'new', 'old')$$);
CALL pg_temp.raises($$SELECT project('{[3e38,0,0]@2026-01-01}'::trajectory, 'new', 'old')$$);
SELECT version, alignment_status FROM create_model('other', 'v1', 'foreign');
CALL pg_temp.raises($$SELECT project('[1,2,3]'::vector, 'foreign', 'old')$$);
SELECT project('[1,2,3]'::vector, 'foreign', 'foreign');

-- A statement sees the alignment that is there: after a new one, after ROLLBACK, within a function that makes one.

CREATE TABLE kept AS SELECT project('[1,0,0]'::vector, 'new', 'old') AS vec;
BEGIN;
UPDATE cvx_space.old SET vec = vec + '[10,0,0]';
SELECT status FROM align('m', 'v2');
SELECT pg_temp.r6(project('[1,0,0]'::vector, 'new', 'old') - vec) AS moved FROM kept;
SAVEPOINT s;
UPDATE cvx_space.old SET vec = vec + '[0,10,0]';
SELECT status FROM align('m', 'v2');
SELECT pg_temp.r6(project('[1,0,0]'::vector, 'new', 'old') - vec) AS moved FROM kept;
ROLLBACK TO s;
SELECT pg_temp.r6(project('[1,0,0]'::vector, 'new', 'old') - vec) AS moved FROM kept;
ROLLBACK;
SELECT project('[1,0,0]'::vector, 'new', 'old') = vec AS as_before FROM kept;
BEGIN;
DO $$
DECLARE
    moved float8[] := '{}';
BEGIN
    FOR i IN 1..4 LOOP
        moved := moved || (SELECT round((project('[1,0,0]'::vector, 'new', 'old') <-> vec)::numeric, 4) FROM kept)::float8;
        UPDATE cvx_space.old SET vec = vec + '[1,0,0]';
        PERFORM align('m', 'v2');
    END LOOP;
    RAISE NOTICE 'moved %', moved;
END
$$;
DO $$
BEGIN
    BEGIN
        UPDATE cvx_space.old SET vec = vec + '[0,100,0]';
        PERFORM align('m', 'v2'), project('[1,0,0]'::vector, 'new', 'old');
        RAISE 'undo';
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
    RAISE NOTICE 'moved %', (SELECT round((project('[1,0,0]'::vector, 'new', 'old') <-> vec)::numeric, 4) FROM kept);
END
$$;
ROLLBACK;
-- Without memory to keep maps in, and with a little.
CREATE TABLE results AS SELECT e.entity_id, project(e.vec, 'newest', 'old') AS vec FROM embedding e WHERE space_id = space_id('newest');
SET cvx.projection_cache_size = 0;
SELECT count(*), bool_and(project(e.vec, 'newest', 'old') = r.vec) AS same FROM cvx_space.newest e JOIN results r USING (entity_id);
SELECT canonical('e1', 'm') IS NOT NULL AS canonical;
SET cvx.projection_cache_size = 1;
SELECT count(*), bool_and(project(e.vec, 'newest', 'old') = r.vec) AS same FROM cvx_space.newest e JOIN results r USING (entity_id);
RESET cvx.projection_cache_size;
-- By parallel workers.
-- Its name changed in PostgreSQL 16.
SELECT name AS forced FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query') \gset
SET :forced = 'on';
SELECT pg_temp.plan_has($$SELECT project(vec, 'newest', 'old') FROM results$$, 'Gather', 'project') AS in_a_worker;
SELECT count(*), bool_and(project(e.vec, 'newest', 'old') = r.vec) AS same FROM cvx_space.newest e JOIN results r USING (entity_id);
RESET :forced;
-- A vector of the new model, looked up through the index of the old one.
SELECT i.index_name FROM create_index('old', 'cosine') i;
SET enable_seqscan = off; SET enable_sort = off;
SELECT format($$SELECT entity_id FROM embedding WHERE space_id = %s ORDER BY vec::vector(3) <=> project('%s'::vector, 'new', 'old')::vector(3) LIMIT 3$$, space_id('old'), pg_temp.x(77)::vector) AS query \gset
SELECT pg_temp.plan_has(:'query', 'Index Scan using', 'hnsw', 'Order By', 'project') AS served_by_the_index;
:query;
RESET enable_seqscan; RESET enable_sort;

-- An UPDATE by hand that breaks what is stored breaks no session.
CREATE PROCEDURE pg_temp.broken(change text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'UPDATE alignment SET revision = nextval(''alignment_revision_seq''), ' || change || ' WHERE version = ''v2''';
    CALL pg_temp.raises('SELECT project(''[1,2,3]''::vector, ''new'', ''old'')');
    CALL pg_temp.raises('SELECT project(''[1,2,3]''::vector, ''branch'', ''newest'')');
    CALL pg_temp.raises('SELECT cvx.canonical_trajectory(''later'', ''m'')');
    CALL pg_temp.raises('SELECT model_changepoints(''later'', ''m'')');
    CALL pg_temp.raises('SELECT alignment_map(''m'', ''v2'')');
    ROLLBACK;
END
$$;
SELECT count(pg_temp.put(s, 'later', '2026-02-01'::timestamptz + i * interval '1 day', i)) FROM (VALUES ('old', 1), ('old', 2), ('old', 3), ('new', 4), ('new', 5), ('new', 6)) v(s, i);
CALL pg_temp.broken($$forward = '', backward = ''$$);
CALL pg_temp.broken($$forward = substr(forward, 1, 20), backward = substr(backward, 1, length(backward) - 1)$$);
CALL pg_temp.broken($$forward = forward || '\x00', backward = '\xffffffffffffffffffffffffffffffffffffffff'$$);
CALL pg_temp.broken($$anchors = '\x01020304'$$);
CALL pg_temp.broken($$anchors = ''$$);
CALL pg_temp.broken($$error_model = '{1}'$$);
CALL pg_temp.broken($$error_model = '{NaN,-1,Infinity,NULL}'$$);
DROP TABLE kept, results;
SELECT drop_model('m'), drop_model('other');
SELECT count(drop_space(name, cascade => true)) FROM space;
