-- Spaces and the embeddings in them: names, validation on every way in, indexes, cvx.trajectory, row-level security.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all

-- Ids count on over files and runs: they are never shown.
CREATE FUNCTION pg_temp.partition_of(space text) RETURNS regclass LANGUAGE sql AS $$SELECT format('cvx_space.%I', space)::regclass$$;

-- create_space

SELECT create_space('three', 3, 'a space of three dimensions') AS made_id \gset
SELECT space_id('three') = :made_id AS returned_its_id;
SELECT name, dims, description, created_at <= now() AS created FROM space WHERE name = 'three';
SELECT partition_of, obj_description(partition_of) LIKE 'space %, 3 dimensions' AS described, pg_get_expr(c.relpartbound, c.oid) = format('FOR VALUES IN (%s)', space_id('three')) AS bound
FROM pg_temp.partition_of('three') LEFT JOIN pg_class c ON c.oid = partition_of;
CALL pg_temp.raises($$SELECT create_space('three', 3)$$);
CALL pg_temp.raises($$SELECT create_space('three', 5)$$);
CALL pg_temp.raises($$SELECT create_space('', 3)$$);
CALL pg_temp.raises($$SELECT create_space(NULL, 3)$$);
CALL pg_temp.raises($$SELECT create_space('x', NULL)$$);
CALL pg_temp.raises($$SELECT create_space('x', 0)$$);
CALL pg_temp.raises($$SELECT create_space('x', -1)$$);
CALL pg_temp.raises($$SELECT create_space('x', 16001)$$);
CALL pg_temp.raises(format('SELECT create_space(%L, 3)', repeat('x', 64)));
CALL pg_temp.raises(format('SELECT create_space(%L, 3)', repeat('é', 32)));
CALL pg_temp.raises($$SELECT space_id('nowhere')$$);
CALL pg_temp.raises($$SELECT space_id('THREE')$$);
CALL pg_temp.raises($$SELECT space_id(E'tab\t"quote"')$$);
SELECT space_id(NULL);

-- Whatever a name holds, it is a name.
CREATE TABLE hostile (name text);
INSERT INTO hostile VALUES
    ('bert-v2'), ('Has Capitals'), ('quo"te'), ('apo''strophe'), ('"; DROP TABLE cvx.space; --'), ('back\slash'), ('%s %I %L $1 $$'),
    (E'new\nline\ttab'), (repeat('y', 63)), (repeat('é', 31)), ('日本語'), ('😀'), (' '), ('select'), ('embedding'), ('pg_class'), ('{}'), ('null');
SELECT count(create_space(name, 2, name)) FROM hostile;
SELECT count(*) AS spaces, bool_and(space_id(h.name) = s.space_id) AS found, bool_and(to_regclass(format('cvx_space.%I', h.name)) IS NOT NULL) AS has_partition,
       bool_and(s.description = h.name) AS described FROM hostile h JOIN space s USING (name);
INSERT INTO embedding (space_id, entity_id, ts, vec) SELECT space_id(name), name, '2026-01-01', '[1,2]' FROM hostile;
SELECT count(*) FROM hostile WHERE cvx.trajectory(name, name) = '{[1,2]@2026-01-01}';
SELECT count(*) FROM hostile, provenance(name, name) p WHERE p.space = name;
SELECT count(*) FROM hostile, create_index(name) i WHERE to_regclass(i.index_name) IS NOT NULL;
SELECT i.index_name FROM create_index('"; DROP TABLE cvx.space; --', 'l2') i;
-- Two names that are long and alike.
SELECT create_space(repeat('y', 62) || 'z', 2) IS NOT NULL AS made;
SELECT count(DISTINCT i.index_name), bool_and(octet_length((parse_ident(i.index_name))[2]) <= 63)
    FROM unnest(ARRAY[repeat('y', 63), repeat('y', 62) || 'z', repeat('é', 31)]) name, unnest(ARRAY['l2', 'ip']) metric, create_index(name, metric) i;
SELECT drop_space(repeat('y', 62) || 'z');
SELECT bool_and(drop_space(name, cascade => true) IS NOT NULL) FROM hostile;
SELECT count(*) FROM hostile WHERE to_regclass(format('cvx_space.%I', name)) IS NOT NULL OR name IN (SELECT name FROM space);
DROP TABLE hostile;

-- A failed statement leaves nothing behind.
BEGIN;
SELECT create_space('undone', 3) IS NOT NULL AS made;
ROLLBACK;
CALL pg_temp.raises($$SELECT space_id('undone')$$);
SELECT to_regclass('cvx_space.undone');

-- Validation: the same words on every way in.

CREATE TABLE bad (what text, entity_id text, ts timestamptz, vec text);
INSERT INTO bad VALUES
    ('wrong dimension', 'a', '2026-01-01', '[1,2]'), ('zero vector', 'a', '2026-01-01', '[0,0,0]'), ('minus zero', 'a', '2026-01-01', '[-0,0,0]'),
    ('infinite time', 'a', 'infinity', '[1,2,3]'), ('infinite past', 'a', '-infinity', '[1,2,3]'), ('empty entity', '', '2026-01-01', '[1,2,3]'),
    ('long entity', repeat('x', 1025), '2026-01-01', '[1,2,3]'), ('null entity', NULL, '2026-01-01', '[1,2,3]'), ('null time', 'a', NULL, '[1,2,3]'), ('null vector', 'a', '2026-01-01', NULL);
CREATE PROCEDURE pg_temp.refused(target text, columns text) LANGUAGE plpgsql AS $$
DECLARE row bad;
BEGIN
    FOR row IN SELECT * FROM bad LOOP
        RAISE NOTICE '-- %', row.what;
        CALL pg_temp.raises(format('INSERT INTO %s (%s entity_id, ts, vec) VALUES (%s %L, %L, %L)', target, columns,
            CASE columns WHEN '' THEN '' ELSE space_id('three') || ', ' END, row.entity_id, row.ts, row.vec));
    END LOOP;
END
$$;
CALL pg_temp.refused('cvx.embedding', 'space_id, ');
CALL pg_temp.refused('cvx_space.three', '');
CALL pg_temp.raises($$INSERT INTO cvx_space.three (entity_id, ts, vec) VALUES ('a', '2026-01-01', '[NaN,1,2]')$$);
CALL pg_temp.raises($$INSERT INTO cvx_space.three (entity_id, ts, vec) VALUES ('a', '2026-01-01', '[1,Infinity,2]')$$);
CALL pg_temp.raises($$INSERT INTO cvx_space.three (entity_id, ts, vec) VALUES ('a', '294277-01-01', '[1,2,3]')$$);
SELECT count(*) AS none FROM embedding;
-- NaN and infinity that slip past the vector type's own input.
CREATE CAST (bytea AS vector) WITHOUT FUNCTION;
CALL pg_temp.raises($$INSERT INTO cvx_space.three (entity_id, ts, vec) VALUES ('a', '2026-01-01', '\x030000000000803f0000c07f00000000'::bytea::vector)$$);
CALL pg_temp.raises($$INSERT INTO cvx_space.three (entity_id, ts, vec) VALUES ('a', '2026-01-01', '\x030000000000803f000080ff00000000'::bytea::vector)$$);
DROP CAST (bytea AS vector);
-- A space that is not there, one that is somebody else's.
CALL pg_temp.raises($$INSERT INTO cvx.embedding (space_id, entity_id, ts, vec) VALUES (-1, 'a', '2026-01-01', '[1,2,3]')$$);
CALL pg_temp.raises($$INSERT INTO cvx_space.three (space_id, entity_id, ts, vec) VALUES (NULL, 'a', '2026-01-01', '[1,2,3]')$$);
-- Extreme times and the longest entity are taken.
INSERT INTO cvx_space.three (entity_id, ts, vec) VALUES ('extreme', '4714-11-24 00:00:00+00 BC', '[1,2,3]'), ('extreme', '294276-12-31 23:59:59.999999+00', '[1e-45,0,0]'),
    ('extreme', '2026-01-01', '[3.4028235e38,-3.4028235e38,0]'), (repeat('x', 1024), '2026-01-01', '[1,2,3]');
SELECT cvx.trajectory('extreme', 'three');
-- Nothing of a statement with one bad row goes in.
CALL pg_temp.raises($$INSERT INTO cvx.embedding (space_id, entity_id, ts, vec) SELECT space_id('three'), 'many', '2026-01-01'::timestamptz + i * interval '1 day',
    (CASE i WHEN 7 THEN '[0,0,0]' ELSE '[1,2,3]' END)::vector FROM generate_series(1, 10) i$$);
SELECT count(*) FROM embedding WHERE entity_id = 'many';
-- COPY into the partition, into the parent; its error names the row.
COPY cvx_space.three (entity_id, ts, vec, source, attrs) FROM stdin;
copied	2026-01-01	[1,2,3]	s	{"k": 1}
copied	2026-01-02	[2,3,4]	\N	\N
\.
COPY cvx_space.three (entity_id, ts, vec) FROM stdin;
broken	2026-01-01	[1,2,3]
broken	2026-01-02	[0,0,0]
\.
COPY cvx_space.three (entity_id, ts, vec) FROM stdin;
broken	2026-01-01	[1,2]
\.
COPY cvx_space.three (entity_id, ts, vec) FROM stdin;
broken	2026-01-01	[1,2,NaN]
\.
SELECT entity_id, ts, vec, source, attrs, ingested_at = now() AS now FROM embedding WHERE entity_id IN ('copied', 'broken') ORDER BY ts;
-- UPDATE, and moves between spaces.
CALL pg_temp.raises($$UPDATE embedding SET vec = '[0,0,0]' WHERE entity_id = 'copied'$$);
CALL pg_temp.raises($$UPDATE cvx_space.three SET vec = '[1]' WHERE entity_id = 'copied'$$);
CALL pg_temp.raises($$UPDATE embedding SET ts = 'infinity' WHERE entity_id = 'copied'$$);
CALL pg_temp.raises($$UPDATE embedding SET entity_id = '' WHERE entity_id = 'copied'$$);
SELECT create_space('two', 2) IS NOT NULL AS made;
CALL pg_temp.raises($$UPDATE embedding SET space_id = space_id('two') WHERE entity_id = 'copied'$$);
UPDATE embedding SET space_id = space_id('two'), vec = '[1,2]' WHERE entity_id = 'copied' AND ts = '2026-01-01';
SELECT tableoid::regclass, ts, vec FROM embedding WHERE entity_id = 'copied' ORDER BY ts;
-- Upserts.
INSERT INTO embedding (space_id, entity_id, ts, vec) VALUES (space_id('three'), 'up', '2026-01-01', '[1,1,1]');
CALL pg_temp.raises($$INSERT INTO cvx_space.three (entity_id, ts, vec) VALUES ('up', '2026-01-01', '[2,2,2]')$$);
INSERT INTO embedding (space_id, entity_id, ts, vec) VALUES (space_id('three'), 'up', '2026-01-01', '[2,2,2]') ON CONFLICT DO NOTHING;
INSERT INTO embedding AS e (space_id, entity_id, ts, vec) VALUES (space_id('three'), 'up', '2026-01-01', '[3,3,3]')
    ON CONFLICT (space_id, entity_id, ts) DO UPDATE SET vec = excluded.vec, source = 'upsert';
CALL pg_temp.raises($$INSERT INTO embedding AS e (space_id, entity_id, ts, vec) VALUES (space_id('three'), 'up', '2026-01-01', '[3,3,3]')
    ON CONFLICT (space_id, entity_id, ts) DO UPDATE SET vec = '[0,0,0]'$$);
MERGE INTO embedding e USING (VALUES ('up', '[4,4,4]'::vector), ('merged', '[5,5,5]')) v(entity_id, vec)
    ON e.space_id = space_id('three') AND e.entity_id = v.entity_id
    WHEN MATCHED THEN UPDATE SET vec = v.vec
    WHEN NOT MATCHED THEN INSERT (space_id, entity_id, ts, vec) VALUES (space_id('three'), v.entity_id, '2026-01-01', v.vec);
SELECT entity_id, vec, source FROM embedding WHERE entity_id IN ('up', 'merged') ORDER BY 1;
-- The constraint can be neither lost nor got round by attaching a table of one's own.
CREATE TABLE foreign_rows (LIKE cvx.embedding INCLUDING DEFAULTS);
INSERT INTO foreign_rows (space_id, entity_id, ts, vec) VALUES (space_id('three'), 'a', '2026-01-01', '[0,0,0]');
CALL pg_temp.raises($$ALTER TABLE embedding ATTACH PARTITION foreign_rows FOR VALUES IN (-5)$$);
DROP TABLE foreign_rows, bad;

-- cvx.trajectory

INSERT INTO cvx_space.three (entity_id, ts, vec) SELECT 'walk', '2026-01-01'::timestamptz + i * interval '1 day', ARRAY[i, -i, 1]::vector FROM generate_series(0, 4) i;
SELECT cvx.trajectory('walk', 'three');
SELECT cvx.trajectory('walk', 'three', '2026-01-02', '2026-01-03') AS closed, cvx.trajectory('walk', 'three', to_ts => '2026-01-01') AS to_ts,
       num_points(cvx.trajectory('walk', 'three', '-infinity', 'infinity')) AS infinite, cvx.trajectory('walk', 'three', '2027-01-01') AS nothing,
       cvx.trajectory('walk', 'three', '2026-01-03', '2026-01-02') AS backwards;
SELECT cvx.trajectory('nobody', 'three'), cvx.trajectory(NULL, 'three'), cvx.trajectory('walk', NULL), cvx.trajectory('', 'three');
CALL pg_temp.raises($$SELECT cvx.trajectory('walk', 'nowhere')$$);
CALL pg_temp.raises($$SELECT cvx.trajectory('walk', '')$$);
-- It equals the aggregate, for every entity, in one statement over many.
SELECT count(*) AS entities, count(*) FILTER (WHERE t <> cvx.trajectory(entity_id, 'three')) AS differing
    FROM (SELECT entity_id, trajectory_agg(ts, vec) AS t FROM embedding WHERE space_id = space_id('three') GROUP BY 1) g;
-- The statement sees its own snapshot, and a later one what came between.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT num_points(cvx.trajectory('walk', 'three'));
INSERT INTO cvx_space.three (entity_id, ts, vec) VALUES ('walk', '2026-02-01', '[1,1,1]');
SELECT num_points(cvx.trajectory('walk', 'three'));
ROLLBACK;
-- One range scan of one partition's primary key, without locks on the others. A space may go and come back.
INSERT INTO cvx_space.three (entity_id, ts, vec) SELECT 'e' || i % 100, '2026-01-01'::timestamptz + i * interval '1 minute', '[1,2,3]' FROM generate_series(1, 5000) i;
ANALYZE embedding;
SELECT pg_stat_force_next_flush();
SELECT idx_scan AS before_idx, seq_scan AS before_seq FROM pg_stat_user_tables WHERE relid = 'cvx_space.three'::regclass \gset
BEGIN;
SELECT num_points(cvx.trajectory('e7', 'three'));
SELECT array_agg(DISTINCT relation::regclass::text) FROM pg_locks WHERE relation IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'cvx.embedding'::regclass) AND pid = pg_backend_pid();
COMMIT;
SELECT pg_stat_force_next_flush();
SELECT idx_scan - :before_idx AS index_scans, seq_scan - :before_seq AS sequential_scans FROM pg_stat_user_tables WHERE relid = 'cvx_space.three'::regclass;
SELECT pg_temp.plan_has(format($$SELECT cvx.trajectory_agg(ts, vec) FROM cvx.embedding WHERE space_id = %s AND entity_id = 'e7' AND ts >= '2026-01-01' AND ts <= '2027-01-01'$$, space_id('three')),
    'three_pkey') AS uses_key;
SELECT drop_space('two', true);
SELECT create_space('two', 4) IS NOT NULL AS again;
INSERT INTO cvx_space.two (entity_id, ts, vec) VALUES ('walk', '2026-01-01', '[1,2,3,4]');
SELECT cvx.trajectory('walk', 'two');

-- Row-level security of a user's own holds through it.
CREATE ROLE cvx_reader;
SELECT grant_read('cvx_reader');
ALTER TABLE embedding ENABLE ROW LEVEL SECURITY;
CREATE POLICY only_walks ON embedding FOR SELECT TO cvx_reader USING (entity_id LIKE 'w%' AND ts < '2026-01-04');
SET ROLE cvx_reader;
SELECT num_points(cvx.trajectory('walk', 'three')), cvx.trajectory('e7', 'three'), num_points(cvx.trajectory('walk', 'two')) AS two;
SELECT count(*) FROM provenance('walk');
SELECT count(*) FROM provenance('e7');
SELECT consistent_model('walk', 'three') AS unknown, count(*) AS sources, max(last_ts) FROM freshness();
CALL pg_temp.raises($$SELECT count(*) FROM cvx_space.three$$);
RESET ROLE;
SELECT num_points(cvx.trajectory('walk', 'three'));
DROP POLICY only_walks ON embedding;
ALTER TABLE embedding DISABLE ROW LEVEL SECURITY;
DROP OWNED BY cvx_reader;
DROP ROLE cvx_reader;

-- Rows in line: a 768-d vector stays in its heap page; one that cannot goes to the side, and is read back.
CREATE FUNCTION pg_temp.filled(space text, dims int) RETURNS TABLE (out_of_line bigint, distinct_pages bigint, bytes int) LANGUAGE plpgsql AS $$
DECLARE toast regclass;
BEGIN
    EXECUTE format($i$INSERT INTO cvx_space.%I (entity_id, ts, vec) SELECT 'e', '2026-01-01'::timestamptz + i * interval '1 day',
        (SELECT array_agg(sin(i * 1000 + j)) FROM generate_series(1, %s) j)::vector FROM generate_series(1, 10) i$i$, space, dims);
    SELECT c.reltoastrelid INTO toast FROM pg_class c WHERE c.oid = format('cvx_space.%I', space)::regclass;
    EXECUTE format('SELECT count(DISTINCT chunk_id) FROM %s', toast) INTO out_of_line;
    EXECUTE format('SELECT count(DISTINCT (ctid::text::point)[0]), max(pg_column_size(vec)) FROM cvx_space.%I', space) INTO distinct_pages, bytes;
    RETURN NEXT;
END
$$;
SELECT count(create_space('s' || dims, dims)) FROM unnest(ARRAY[384, 449, 450, 768, 1024, 1536, 1900, 1901, 3072]) dims;
SELECT dims, f.* FROM space, pg_temp.filled(name, dims) f WHERE name ~ '^s[0-9]+$' ORDER BY dims;
SELECT dims, dims(cvx.trajectory('e', 's' || dims)), num_points(cvx.trajectory('e', 's' || dims)) FROM unnest(ARRAY[768, 1900, 3072]) dims;
SELECT count(drop_space(name, true)) FROM space WHERE name ~ '^s[0-9]+$';
SELECT create_space('widest', 16000) IS NOT NULL AS made;
INSERT INTO cvx_space.widest (entity_id, ts, vec) VALUES ('w', '2026-01-01', array_fill(1, ARRAY[16000])::vector);
SELECT dims(cvx.trajectory('w', 'widest'));
CALL pg_temp.raises($$SELECT create_index('widest')$$);
SELECT drop_space('widest', true);

-- create_index: the query that it returns uses the index.

CREATE FUNCTION pg_temp.serves(space text, metric text, probe text, seen text) RETURNS TABLE (index_name text, query text, used bool, nearest text) LANGUAGE plpgsql AS $$
DECLARE made record; plain text;
BEGIN
    made := create_index(space, metric);
    plain := replace(made.query, '$1', quote_literal(probe));
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_sort = off;
    index_name := made.index_name;
    query := replace(made.query, 'space_id = ' || space_id(space), 'space_id = ?');
    used := pg_temp.plan_has(plain, (parse_ident(made.index_name))[2]);
    EXECUTE format('SELECT %s FROM (%s) q LIMIT 1', seen, plain) INTO nearest;
    RETURN NEXT;
END
$$;
SELECT create_space('indexed', 3) IS NOT NULL AS made;
INSERT INTO cvx_space.indexed (entity_id, ts, vec) SELECT 'e' || i, '2026-01-01', ARRAY[cos(i / 100.0), sin(i / 100.0), 1]::vector FROM generate_series(1, 500) i;
ANALYZE embedding;
SELECT s.* FROM (VALUES ('cosine'), ('l2'), ('ip')) v(metric), pg_temp.serves('indexed', v.metric, '[1,0.01,1]', 'entity_id') s;
SELECT i.index_name FROM create_index('three') i;
CALL pg_temp.raises($$SELECT create_index('indexed')$$);
CALL pg_temp.raises($$SELECT create_index('indexed', 'hamming')$$);
CALL pg_temp.raises($$SELECT create_index('indexed', 'COSINE')$$);
CALL pg_temp.raises($$SELECT create_index('indexed', NULL)$$);
CALL pg_temp.raises($$SELECT create_index(NULL)$$);
CALL pg_temp.raises($$SELECT create_index('nowhere')$$);
-- 2001 to 4000 dimensions are indexed in half precision.
SELECT create_space('half', 2001) IS NOT NULL AS made;
INSERT INTO cvx_space.half (entity_id, ts, vec) SELECT 'e' || i, '2026-01-01', (SELECT array_agg(sin(i + j)) FROM generate_series(1, 2001) j)::vector FROM generate_series(1, 30) i;
ANALYZE embedding;
SELECT vec::text AS probe FROM cvx_space.half WHERE entity_id = 'e9' \gset
SELECT s.* FROM pg_temp.serves('half', 'cosine', :'probe', 'entity_id') s;
SELECT create_space('most', 4000) IS NOT NULL AS made, create_space('more', 4001) IS NOT NULL AS more;
INSERT INTO cvx_space.most (entity_id, ts, vec) VALUES ('e', '2026-01-01', array_fill(1, ARRAY[4000])::vector);
SELECT i.index_name FROM create_index('most', 'l2') i;
CALL pg_temp.raises($$SELECT create_index('more', 'l2')$$);

-- drop_space

CALL pg_temp.raises($$SELECT drop_space('most')$$);
CALL pg_temp.raises($$SELECT drop_space('most', NULL)$$);
CALL pg_temp.raises($$SELECT drop_space('nowhere')$$);
CALL pg_temp.raises($$SELECT drop_space(NULL)$$);
CREATE VIEW on_more AS SELECT entity_id FROM cvx_space.more;
CALL pg_temp.raises($$SELECT drop_space('more')$$);
SET client_min_messages = warning;
SELECT drop_space('more', cascade => true), drop_space('most', cascade => true), drop_space('half', true), drop_space('indexed', true), drop_space('two', true), drop_space('three', true);
RESET client_min_messages;
SELECT to_regclass('on_more') AS view, (SELECT count(*) FROM space) AS spaces, (SELECT count(*) FROM embedding) AS embeddings,
       (SELECT count(*) FROM pg_class WHERE relnamespace = 'cvx_space'::regnamespace) AS relations;
