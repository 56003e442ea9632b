-- Versions of models: registration, what is refused, what dropping leaves, cycles made by hand.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all

-- Entities in space "to" that are those of "from" turned by 90 degrees, doubled and shifted by (1, 2).
CREATE FUNCTION pg_temp.fill(space text, version int, first int, last int) RETURNS bigint LANGUAGE sql AS $$
    WITH made AS (
        INSERT INTO embedding (space_id, entity_id, ts, vec)
        SELECT space_id(fill.space), 'e' || i, '2026-01-01', CASE fill.version
            WHEN 1 THEN ARRAY[x, y] ELSE ARRAY[y - 2, 1 - x] END::real[]::vector
        FROM generate_series(first, last) i, LATERAL (SELECT 5 + sin(i) AS x, 3 + cos(2 * i) AS y) v
        RETURNING 1)
    SELECT count(*) FROM made
$$;
CREATE VIEW pg_temp.versions AS
    SELECT v.model, v.version, s.name AS space, v.predecessor, v.model_hash, v.dims, a.status, a.method, a.overlap_entities AS overlap, a.forward IS NOT NULL AS has_map
    FROM model_version v LEFT JOIN space s USING (space_id) LEFT JOIN alignment a USING (model, version);

SELECT count(create_space(name, 2)) FROM unnest(ARRAY['m1', 'm2', 'm3', 'm4', 'other']) name;
SELECT count(create_space(name, dims)) FROM (VALUES ('wide', 3), ('huge', 4097)) s(name, dims);
SELECT pg_temp.fill('m1', 1, 1, 120);

-- The first version is the canonical frame; it has no alignment.

SELECT * FROM create_model('m', 'v1', 'm1', model_hash => 'abc');
SELECT * FROM pg_temp.versions;
SELECT registered_at <= now() AS registered FROM model_version;

-- What is refused, and leaves nothing behind.

CALL pg_temp.raises($$SELECT create_model(NULL, 'v2', 'm2')$$);
CALL pg_temp.raises($$SELECT create_model('m', NULL, 'm2')$$);
CALL pg_temp.raises($$SELECT create_model('m', 'v2', NULL)$$);
CALL pg_temp.raises($$SELECT create_model('', 'v2', 'm2')$$);
CALL pg_temp.raises($$SELECT create_model('m', '', 'm2', 'v1')$$);
CALL pg_temp.raises(format('SELECT create_model(%L, %L, %L)', repeat('x', 256), 'v1', 'm2'));
CALL pg_temp.raises(format('SELECT create_model(%L, %L, %L)', 'n', repeat('é', 128), 'm2'));
CALL pg_temp.raises($$SELECT create_model('m', 'v2', 'nowhere', 'v1')$$);
CALL pg_temp.raises($$SELECT create_model('m', 'v2', 'm2')$$);
CALL pg_temp.raises($$SELECT create_model('m', 'v1', 'm2', 'v1')$$);
CALL pg_temp.raises($$SELECT create_model('m', 'v1', 'm2')$$);
CALL pg_temp.raises($$SELECT create_model('m', 'v2', 'm1', 'v1')$$);
CALL pg_temp.raises($$SELECT create_model('n', 'v1', 'm1')$$);
CALL pg_temp.raises($$SELECT create_model('m', 'v2', 'm2', 'v0')$$);
CALL pg_temp.raises($$SELECT create_model('m', 'v2', 'm2', 'v2')$$);
CALL pg_temp.raises($$SELECT create_model('m', 'v2', 'm2', '')$$);
-- A predecessor is of the same model.
CALL pg_temp.raises($$SELECT create_model('n', 'v2', 'm2', 'v1')$$);
CALL pg_temp.raises($$SELECT create_model('m', 'v2"; DROP TABLE cvx.space; --', 'm2', 'it''s')$$);
SELECT count(*) FROM model_version;
-- The tables refuse the same by themselves.
CALL pg_temp.raises($$INSERT INTO model_version (model, version, dims) VALUES ('m', 'v2', 2)$$);
CALL pg_temp.raises($$INSERT INTO model_version (model, version, predecessor, dims) VALUES ('m', 'v2', 'v2', 2)$$);
CALL pg_temp.raises($$INSERT INTO model_version (model, version, predecessor, dims) VALUES ('n', 'v2', 'v1', 2)$$);
DO $$ BEGIN
    INSERT INTO model_version (model, version, predecessor, dims, space_id) VALUES ('m', 'v2', 'v1', 2, space_id('m1'));
EXCEPTION WHEN unique_violation THEN RAISE NOTICE 'one version a space';
END $$;
CALL pg_temp.raises($$INSERT INTO model_version (model, version, dims) VALUES ('', 'v2', 2)$$);
CALL pg_temp.raises($$WITH two AS (INSERT INTO model_version (model, version, predecessor, dims) VALUES ('m', 'v2', 'v1', 2)) UPDATE model_version SET version = 'v0'$$);
CALL pg_temp.raises($$INSERT INTO alignment (model, version) VALUES ('m', 'v9')$$);
CALL pg_temp.raises($$INSERT INTO alignment (model, version) VALUES ('n', 'v1')$$);
CALL pg_temp.raises($$INSERT INTO alignment (model, version, status) VALUES ('m', 'v1', 'nearly')$$);

-- Overlap that is there is used at once; overlap that comes later, by cvx.align.

SELECT pg_temp.fill('m2', 2, 101, 120);
SELECT * FROM create_model('m', 'v2', 'm2', 'v1');
SELECT pg_temp.r6(project('[1,-4]'::vector, 'm2', 'm1')) AS forward, pg_temp.r6(project('[5,3]'::vector, 'm1', 'm2')) AS backward;
SELECT * FROM create_model('m', 'v3', 'm3', 'v2');
CALL pg_temp.raises($$SELECT project('[1,2]'::vector, 'm3', 'm2')$$);
CALL pg_temp.raises($$SELECT project('[1,2]'::vector, 'm1', 'm3')$$);
SELECT status, method, predecessor, overlap_entities, confidence, computed_at FROM align('m', 'v3');
CALL pg_temp.raises($$SELECT project('[1,2]'::vector, 'm3', 'm2')$$);
SELECT pg_temp.fill('m3', 1, 101, 110);
SELECT status, method, predecessor, overlap_entities, confidence, computed_at <= clock_timestamp() AS computed FROM align('m', 'v3');
SELECT pg_temp.r6(project('[5,3]'::vector, 'm3', 'm2')) AS one, pg_temp.r6(project('[5,3]'::vector, 'm3', 'm1')) AS two;
-- Overlap that is too little for a map is no reason to refuse the version.
SELECT pg_temp.fill('other', 1, 120, 120);
SELECT * FROM create_model('m', 'early', 'other', 'v1');
SELECT pg_temp.fill('other', 1, 119, 119);
SELECT status, overlap_entities FROM align('m', 'early');
SELECT drop_model('m', 'early');
-- Or left for later, with overlap or not.
SELECT pg_temp.fill('m4', 1, 1, 120);
SELECT * FROM create_model('m', 'v4', 'm4', 'v1', auto_align => false);
SELECT status, method, overlap_entities, pairs, computed_at FROM alignment_quality('m', 'v4');
SELECT status, overlap_entities, confidence FROM align('m', 'v4');
SELECT drop_model('m', 'v4');
SELECT * FROM create_model('m', 'v4', 'm4', 'v1', auto_align => NULL);
-- Its points do not count where v1 has the time, so an entity that has no others does without it.
SELECT num_points(canonical('e1', 'm'));
SELECT status FROM align('m', 'v4');
-- Another dimension: a linear map instead of a rotation. Too many to align: registered all the same.
INSERT INTO embedding (space_id, entity_id, ts, vec)
    SELECT space_id('wide'), entity_id, ts, (vec::real[] || ARRAY[(vec::real[])[1] + 1])::vector FROM cvx_space.m1;
SELECT * FROM create_model('m', 'wide', 'wide', 'v1');
SELECT * FROM create_model('m', 'huge', 'huge', 'wide');
CALL pg_temp.raises($$SELECT align('m', 'huge')$$);
CALL pg_temp.raises($$SELECT align('m', 'huge', 'affine')$$);
SELECT * FROM pg_temp.versions ORDER BY model, version;

-- A cycle, which no function makes.

BEGIN;
UPDATE model_version SET predecessor = 'v3' WHERE version = 'v2';
CALL pg_temp.raises($$SELECT project('[1,2]'::vector, 'm3', 'm1')$$);
CALL pg_temp.raises($$SELECT project('[1,2]'::vector, 'm1', 'm2')$$);
CALL pg_temp.raises($$SELECT canonical('e101', 'm')$$);
CALL pg_temp.raises($$SELECT canonical_trajectory('e101', 'm')$$);
CALL pg_temp.raises($$SELECT model_changepoints('e101', 'm')$$);
CALL pg_temp.raises($$SELECT canonical_svg('e101', 'm')$$);
-- What it does not touch goes on.
SELECT pg_temp.r6(project('[5,3]'::vector, 'm4', 'm1')) AS outside, canonical('e1', 'm') IS NOT NULL AS of_an_entity_outside;
CALL pg_temp.raises($$SELECT drop_model('m', 'v2')$$);
CALL pg_temp.raises($$DELETE FROM model_version WHERE version = 'v2'$$);
SELECT count(*) FROM alignment_quality('m');
-- With no first version at all.
UPDATE model_version SET predecessor = 'v4' WHERE version = 'v1';
CALL pg_temp.raises($$SELECT project('[1,2]'::vector, 'm4', 'm1')$$);
CALL pg_temp.raises($$SELECT canonical('e1', 'm')$$);
SELECT drop_model('m');
SELECT count(*) FROM model_version;
ROLLBACK;

-- drop_space under a version: refused, or the version stays, and paths go on leading through it.

CALL pg_temp.raises($$SELECT drop_space('m2')$$);
DELETE FROM cvx_space.m2;
CALL pg_temp.raises($$SELECT drop_space('m2')$$);
CREATE TEMP TABLE before AS SELECT project('[5,3]'::vector, 'm3', 'm1') AS vec, canonical('e101', 'm') AS t;
SELECT drop_space('m2', cascade => true);
SELECT * FROM pg_temp.versions WHERE version IN ('v2', 'v3') ORDER BY version;
SELECT project('[5,3]'::vector, 'm3', 'm1') = vec AS same FROM before;
SELECT canonical('e101', 'm') = t AS same FROM before;
CALL pg_temp.raises($$SELECT project('[5,3]'::vector, 'm2', 'm1')$$);
CALL pg_temp.raises($$SELECT align('m', 'v2')$$);
CALL pg_temp.raises($$SELECT align('m', 'v3')$$);
SELECT status, overlap_entities FROM alignment_quality('m', 'v2');
SELECT count(*) FROM alignment_map('m', 'v2');
-- A version may still follow it; its space's name may be used again, by another space.
SELECT create_space('m2', 2) IS NOT NULL AS made;
SELECT * FROM create_model('m', 'v5', 'm2', 'v2');
CALL pg_temp.raises($$SELECT align('m', 'v5')$$);
CALL pg_temp.raises($$SELECT project('[5,3]'::vector, 'm2', 'm1')$$);
SELECT drop_model('m', 'v5');
CALL pg_temp.raises($$SELECT project('[5,3]'::vector, 'm2', 'm1')$$);

-- drop_model: the last versions first, or all; embeddings stay.

CALL pg_temp.raises($$SELECT drop_model(NULL)$$);
CALL pg_temp.raises($$SELECT drop_model(NULL, 'v1')$$);
CALL pg_temp.raises($$SELECT drop_model('nothing')$$);
CALL pg_temp.raises($$SELECT drop_model('m', 'v9')$$);
CALL pg_temp.raises($$SELECT drop_model('nothing', 'v1')$$);
CALL pg_temp.raises($$SELECT drop_model('m', 'v1')$$);
CALL pg_temp.raises($$SELECT drop_model('m', 'wide')$$);
CALL pg_temp.raises($$UPDATE model_version SET version = 'big' WHERE version = 'huge'$$);
CALL pg_temp.raises($$UPDATE alignment SET version = 'big' WHERE version = 'huge'$$);
SELECT drop_model('m', 'huge');
SELECT drop_model('m', 'wide');
SELECT version, status FROM alignment_quality('m');
SELECT drop_model('m');
SELECT (SELECT count(*) FROM model_version) AS versions, (SELECT count(*) FROM alignment) AS alignments, (SELECT count(*) FROM cvx_space.m1) AS embeddings;
CALL pg_temp.raises($$SELECT drop_model('m')$$);
CALL pg_temp.raises($$SELECT project('[5,3]'::vector, 'm3', 'm1')$$);
CALL pg_temp.raises($$SELECT alignment_quality('m')$$);
-- A version that was dropped is registered anew.
SELECT * FROM create_model('m', 'v1', 'm1');
SELECT drop_model('m', 'v1');

-- Whatever a name holds, it is a name.

CREATE TEMP TABLE hostile (name text);
INSERT INTO hostile VALUES ('''; DROP TABLE cvx.space; --'), ('quo"te'), ('back\slash'), ('%s %I %L $1 $$'), (E'new\nline\ttab'), ('日本語'), ('😀'), (' '), ('null'),
    (repeat('y', 255)), (repeat('é', 127));
SELECT count(create_space('h ' || row_number, 2)) FROM (SELECT row_number() OVER () FROM hostile, generate_series(1, 2)) n;
CREATE TEMP TABLE named AS SELECT name, 'h ' || row_number() OVER () AS first, 'h ' || 11 + row_number() OVER () AS second FROM hostile;
SELECT count(pg_temp.fill(first, 1, 1, 12)), count(pg_temp.fill(second, 2, 1, 12)) FROM named;
SELECT count(*) FROM named, create_model(name, name || '', first) c WHERE c.model = name AND c.version = name AND c.alignment_status = 'canonical';
SELECT alignment_status, overlap_entities, count(*) FROM named, create_model(name, left(name, 100) || '2', second, name) GROUP BY 1, 2;
SELECT count(*) FROM named, alignment_quality(name) q WHERE q.predecessor = name;
SELECT count(*) FROM named, alignment_quality(name, left(name, 100) || '2') q WHERE q.model = name;
SELECT status, count(*) FROM named, align(name, left(name, 100) || '2', 'affine') GROUP BY 1;
SELECT pg_temp.r6(project('[1,-4]'::vector, second, first)) AS projected, count(*) FROM named GROUP BY 1;
SELECT num_points(canonical('e1', name)) AS points, count(*) FROM named GROUP BY 1;
CALL pg_temp.raises($$SELECT align('quo"te', ''' OR true --')$$);
CALL pg_temp.raises(format('SELECT create_model(%L, %L, %L)', E'new\nline\ttab', 'v3', 'other'));
SELECT count(drop_model(name)) FROM hostile;

-- What runs out of order in one transaction undoes together.
BEGIN;
SELECT * FROM create_model('m', 'v1', 'm1');
SAVEPOINT before_second;
SELECT * FROM create_model('m', 'v2', 'm4', 'v1');
ROLLBACK TO before_second;
SELECT version FROM model_version;
CALL pg_temp.raises($$SELECT project('[5,3]'::vector, 'm4', 'm1')$$);
ROLLBACK;
SELECT count(*) FROM model_version;

SELECT count(drop_space(name, cascade => true)) FROM space;
