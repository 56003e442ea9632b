-- Trajectories over all versions of a model: which points, where they are put, how sure that is, and what changed.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all

-- A place p in the canonical frame, as each version has it: v1 as it is, v2 turned by 90 degrees, v3 doubled, with one dimension more.
CREATE FUNCTION pg_temp.seen(version text, x float8, y float8) RETURNS vector LANGUAGE sql AS $$
    SELECT CASE version WHEN 'v1' THEN ARRAY[x, y] WHEN 'v2' THEN ARRAY[y, -x] WHEN 'v3' THEN ARRAY[2 * y, -2 * x, 1] ELSE ARRAY[-x, -y] END::real[]::vector
$$;
CREATE FUNCTION pg_temp.put(model text, version text, entity_id text, ts timestamptz, x float8, y float8, input_hash text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    INSERT INTO embedding (space_id, entity_id, ts, vec, input_hash, source, model_version, pipeline_hash)
    SELECT v.space_id, put.entity_id, put.ts, pg_temp.seen(put.version, x, y), put.input_hash, 'from ' || put.version, put.version, 'pipe ' || put.version
    FROM model_version v WHERE v.model = put.model AND v.version = put.version RETURNING entity_id
$$;
SELECT count(create_space(m || ' ' || v, CASE v WHEN 'v3' THEN 3 ELSE 2 END)) FROM unnest(ARRAY['m', 'n']) m, unnest(ARRAY['v1', 'v2', 'v3', 'v4']) v;
SELECT version, alignment_status FROM unnest(ARRAY['v1', 'v2', 'v3', 'v4']) WITH ORDINALITY u(v, i), create_model('m', v, 'm ' || v, CASE WHEN i > 1 THEN 'v' || i - 1 END);
SELECT count(pg_temp.put('m', v, 'overlap ' || i, '2025-01-01', 5 + sin(i), 3 + cos(2 * i))) FROM unnest(ARRAY['v1', 'v2', 'v3']) v, generate_series(1, 120) i;
SELECT a.version, a.status, a.method FROM align('m', 'v2') a UNION ALL SELECT a.version, a.status, a.method FROM align('m', 'v3', 'affine') a;

-- Points of all versions in the order of time.

SELECT count(pg_temp.put('m', v, 'all', t::timestamptz, x, y)) FROM (VALUES
    ('v1', '2026-01-01', 5, 3), ('v1', '2026-01-02', 5.5, 3),
    ('v2', '2026-01-03', 6, 3), ('v2', '2026-01-04', 6, 3.5),
    ('v3', '2026-01-05', 6, 4), ('v1', '2026-01-06', 5, 4)) v(v, t, x, y);
SELECT ts, pg_temp.r6(vec) AS vec, original_space, model_version, pg_temp.r6(alignment_residual) AS residual, alignment_error < 0.01 AS small_error, CASE model_version WHEN 'v1' THEN alignment_error = 0 END AS exact FROM canonical_trajectory('all', 'm');
SELECT num_points(t), start_ts(t), end_ts(t), dims(t) FROM canonical('all', 'm') t;
SELECT bool_and(value_at(canonical('all', 'm'), ts) = vec) AS the_same_points FROM canonical_trajectory('all', 'm');
-- Ranges are closed; NULL is open.
SELECT ts::date, model_version FROM canonical_trajectory('all', 'm', '2026-01-02', '2026-01-03');
SELECT ts::date, model_version FROM canonical_trajectory('all', 'm', from_ts => '2026-01-05');
SELECT num_points(canonical('all', 'm', NULL, '2026-01-03 23:59')) AS until, num_points(canonical('all', 'm', '-infinity', 'infinity')) AS "all", canonical('all', 'm', '2027-01-01') AS after, canonical('all', 'm', '2026-01-03', '2026-01-02') AS reversed;

-- At one time the version nearest to the first counts.
SELECT count(pg_temp.put('m', v, 'twice', t::timestamptz, x, 3)) FROM (VALUES
    ('v3', '2026-01-01', 7), ('v2', '2026-01-01', 6), ('v1', '2026-01-01', 5), ('v3', '2026-01-02', 7), ('v2', '2026-01-02', 6), ('v3', '2026-01-03', 7)) v(v, t, x);
SELECT ts::date, pg_temp.r6(vec) AS vec, model_version FROM canonical_trajectory('twice', 'm');

-- Known in a middle version only; in none; nothing asked for.
SELECT count(pg_temp.put('m', 'v2', 'middle', '2026-01-01', 5, 3));
SELECT pg_temp.r6(vec) AS vec, original_space, pg_temp.r6(alignment_residual) AS residual FROM canonical_trajectory('middle', 'm');
SELECT canonical('middle', 'm') IS NOT NULL AS found, num_points(canonical('middle', 'm'));
SELECT count(*) FROM canonical_trajectory('nobody', 'm');
SELECT canonical('nobody', 'm'), canonical(NULL, 'm'), canonical('all', NULL);
SELECT count(*) FROM canonical_trajectory(NULL, 'm');
SELECT count(*) FROM canonical_trajectory('all', NULL);
CALL pg_temp.raises($$SELECT canonical('all', 'nothing')$$);
CALL pg_temp.raises($$SELECT canonical_trajectory('all', 'nothing')$$);
CALL pg_temp.raises($$SELECT model_changepoints('all', 'nothing')$$);
CALL pg_temp.raises($$SELECT canonical_svg('all', 'nothing')$$);

-- A version without alignment stands in the way of those only who have points there.
SELECT count(pg_temp.put('m', v, 'pending', t::timestamptz, 5, 3)) FROM (VALUES ('v1', '2026-01-01'), ('v4', '2026-01-02')) v(v, t);
CALL pg_temp.raises($$SELECT canonical('pending', 'm')$$);
CALL pg_temp.raises($$SELECT canonical_trajectory('pending', 'm')$$);
CALL pg_temp.raises($$SELECT model_changepoints('pending', 'm')$$);
CALL pg_temp.raises($$SELECT canonical_svg('pending', 'm')$$);
SELECT num_points(canonical('pending', 'm', to_ts => '2026-01-01')) AS before, num_points(canonical('all', 'm')) AS another;

-- alignment_error is measured where the same input is in the predecessor's space: here 0.5 off, (0.3, 0.4).
SELECT count(pg_temp.put('m', v, 'measured', t::timestamptz, x, y, h)) FROM (VALUES
    ('v1', '2026-01-01', 5, 3, 'a'), ('v2', '2026-02-01', 5.3, 3.4, 'a'), ('v2', '2026-02-02', 5.3, 3.4, 'b'), ('v2', '2026-02-03', 5.3, 3.4, NULL),
    ('v3', '2026-03-01', 5.3, 4.4, 'b')) v(v, t, x, y, h);
SELECT ts::date, model_version, pg_temp.r6(alignment_error) AS error FROM canonical_trajectory('measured', 'm') WHERE model_version <> 'v3';
SELECT model_version, round(alignment_error::numeric, 2) AS error FROM canonical_trajectory('measured', 'm') WHERE model_version = 'v3';
-- Nothing held out: nothing known of the error.
SELECT count(pg_temp.put('m', 'v4', 'overlap ' || i, '2025-01-01', 5 + sin(i), 3 + cos(2 * i))) FROM generate_series(1, 2) i;
SELECT status, mean_residual FROM align('m', 'v4', 'affine');
SELECT ts::date, model_version, alignment_error FROM canonical_trajectory('pending', 'm');
DELETE FROM embedding WHERE space_id = space_id('m v4');
SELECT drop_model('m', 'v4');

-- Row-level security on cvx.embedding holds.
CREATE ROLE cvx_canonical;
SELECT grant_read('cvx_canonical');
ALTER TABLE embedding ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON embedding TO cvx_canonical USING (model_version IS DISTINCT FROM 'v2');
SET ROLE cvx_canonical;
SELECT num_points(canonical('all', 'm')) AS points, canonical('middle', 'm') AS hidden;
RESET ROLE;
DROP POLICY p ON embedding;
ALTER TABLE embedding DISABLE ROW LEVEL SECURITY;
DROP OWNED BY cvx_canonical;
DROP ROLE cvx_canonical;

-- Changes, in a model whose overlap differs by some noise: 30 points of v1, then 30 of v2.

SELECT version, alignment_status FROM unnest(ARRAY['v1', 'v2', 'v4']) WITH ORDINALITY u(v, i), create_model('n', v, 'n ' || v, CASE i WHEN 2 THEN 'v1' WHEN 3 THEN 'v2' END);
SELECT count(pg_temp.put('n', v, 'overlap ' || i, '2025-01-01', 5 + sin(i) + CASE v WHEN 'v1' THEN 0 ELSE 0.05 * sin(1000 * i) END, 3 + cos(2 * i) + CASE v WHEN 'v1' THEN 0 ELSE 0.05 * cos(777 * i * i) END))
    FROM unnest(ARRAY['v1', 'v2', 'v4']) v, generate_series(1, 120) i;
SELECT a.status FROM unnest(ARRAY['v2', 'v4']) v, align('n', v) a;
CREATE FUNCTION pg_temp.story(entity text, jump_at int, jump float8, boundaries int[]) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(pg_temp.put('n', CASE WHEN i <= boundaries[1] THEN 'v1' WHEN i <= coalesce(boundaries[2], 60) THEN 'v2' ELSE 'v4' END, entity, '2026-01-01'::timestamptz + i * interval '1 day',
        5 + 0.1 * sin(i * i * 1.7) + CASE WHEN i > jump_at THEN jump ELSE 0 END, 3 + 0.1 * cos(i * i * 2.3)))
    FROM generate_series(1, 60) i
$$;
SELECT pg_temp.story('still', 60, 0, '{30}'), pg_temp.story('at the boundary', 30, 2, '{30}'), pg_temp.story('after it', 45, 2, '{30}'), pg_temp.story('before it', 15, 2, '{30}'),
       pg_temp.story('in one version', 30, 2, '{60}'), pg_temp.story('two boundaries', 30, 2, '{20, 40}'), pg_temp.story('late boundary', 30, 2, '{59}');
SELECT e AS entity, c.ts::date, c.classification, c.model_boundary::date AS boundary, c.severity > 0.9 AS severe, c.confidence > 0.9 AS confident, c.source, c.model_version, c.pipeline_hash
    FROM unnest(ARRAY['at the boundary', 'after it', 'before it', 'in one version', 'two boundaries', 'late boundary']) WITH ORDINALITY u(e, i), model_changepoints(e, 'n') c WHERE c.classification = 'real_change' ORDER BY i, c.ts;
SELECT count(*) AS real_changes_of_still FROM model_changepoints('still', 'n') c WHERE c.classification = 'real_change';
-- As they are stored the same points jump at every boundary.
SELECT count(*) AS false_alarms FROM changepoints((SELECT trajectory_agg(ts, vec) FROM embedding WHERE entity_id = 'still'));
-- Every artifact is at a boundary, and every confidence a probability.
SELECT bool_and(c.classification IN ('real_change', 'model_artifact')) AS classified, bool_and(c.classification = 'real_change' OR c.ts = c.model_boundary) AS artifacts_at_boundaries,
       bool_and(c.confidence BETWEEN 0.5 AND 1) AS probable, bool_and(c.severity BETWEEN 0 AND 1) AS severity, bool_and((c.model_version = 'v1') = (c.alignment_residual = 0)) AS residual, bool_and(c.alignment_error >= 0) AS error
    FROM unnest(ARRAY['still', 'at the boundary', 'after it', 'before it', 'in one version', 'two boundaries', 'late boundary']) e, model_changepoints(e, 'n') c;
-- Within one version they are those of cvx.changepoints.
SELECT (SELECT array_agg((c.ts, round(c.severity::numeric, 6))) FROM model_changepoints('in one version', 'n') c) = (SELECT array_agg((c.ts, round(c.severity::numeric, 6))) FROM changepoints(trajectory('in one version', 'n v1')) c) AS same;
SELECT c.ts::date, c.classification FROM model_changepoints('after it', 'n', '2026-02-05') c;
SELECT c.ts::date, c.classification FROM model_changepoints('after it', 'n', cost => 'cosine', min_size => 3, alpha => 0.01) c WHERE c.classification = 'real_change';
SELECT count(*) FROM model_changepoints('nobody', 'n');
SELECT count(*) FROM model_changepoints('still', 'n', '2026-01-10', '2026-01-11');
SELECT count(*) FROM model_changepoints(NULL, 'n');
SELECT count(*) FROM model_changepoints('after it', 'n', alpha => NULL);
CALL pg_temp.raises($$SELECT model_changepoints('still', 'n', method => 'magic')$$);
CALL pg_temp.raises($$SELECT model_changepoints('still', 'n', cost => 'l1')$$);
CALL pg_temp.raises($$SELECT model_changepoints('still', 'n', penalty => -1)$$);
CALL pg_temp.raises($$SELECT model_changepoints('still', 'n', min_size => 0)$$);
CALL pg_temp.raises($$SELECT model_changepoints('still', 'n', alpha => 1)$$);
CALL pg_temp.raises($$SELECT model_changepoints('still', 'n', cost => 'rbf', gamma => 0)$$);
CALL pg_temp.raises($$SELECT model_changepoints('nobody', 'n', alpha => 2)$$);

-- Pictures.

SELECT svg LIKE '<svg%' AND rtrim(svg, E'\n') LIKE '%</svg>' AS whole, svg LIKE '%&lt;still&gt;%' AS titled, svg LIKE '%v1%' AND svg LIKE '%v2%' AS versions_named
    FROM canonical_svg('still', 'n', title => '<still>') svg;
SELECT canonical_svg('still', 'n') <> canonical_svg('still', 'n', aligned => false) AS aligned_or_not, canonical_svg('at the boundary', 'n') <> canonical_svg('at the boundary', 'n', changepoints => false) AS marked_or_not;
SELECT canonical_svg('still', 'n', changepoints => NULL, aligned => NULL) = canonical_svg('still', 'n', changepoints => false) AS nulls;
SELECT canonical_svg(NULL, 'n'), canonical_svg('still', NULL);
SELECT canonical_svg('nobody', 'n') LIKE '<svg%</svg>%' AS nothing_to_see, canonical_svg('middle', 'm') LIKE '<svg%</svg>%' AS a_point;
CALL pg_temp.raises($$SELECT canonical_svg('all', 'm', aligned => false)$$);

SELECT drop_model('m'), drop_model('n');
SELECT count(drop_space(name, cascade => true)) FROM space;
