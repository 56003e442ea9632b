-- Features of all packages, kept up to date, and as they were. Set by the caller: space.
\set ON_ERROR_STOP on
SET client_min_messages = warning;

\echo '  SELECT cvx.create_view(''movement'', ''temporal_features'', space => ''changelog-v1'','
\echo '      config => ''{"features": ["drift", "mean_speed", "volatility"], "history": true}'');'
\echo
SELECT cvx.create_view('movement', 'temporal_features', space => :'space',
    config => '{"features": ["drift", "mean_speed", "volatility"], "history": true}') \g /dev/null

DO $$
BEGIN
    FOR i IN 1..600 LOOP
        EXIT WHEN EXISTS (SELECT FROM cvx.views WHERE status = 'fresh');
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$$;
SELECT name, status, entities, stale_entities, stale_since FROM cvx.views;

\echo 'A release is uploaded. Until the worker has been, the row of that package says that it does not hold it yet:'
\echo
BEGIN;
INSERT INTO cvx.embedding (space_id, entity_id, ts, vec, source)
SELECT e.space_id, e.entity_id, e.ts + interval '1 day', e.vec, 'demo'
FROM cvx.embedding e WHERE e.space_id = cvx.space_id(:'space') AND e.entity_id = 'gcc-10' ORDER BY e.ts DESC LIMIT 1;
SELECT entity_id, num_points, end_ts::date, round(drift::numeric, 3) AS drift, stale_since IS NOT NULL AS "out of date"
FROM cvx_view.movement WHERE entity_id = 'gcc-10';
COMMIT;
DO $$
BEGIN
    FOR i IN 1..200 LOOP
        EXIT WHEN EXISTS (SELECT FROM cvx.views WHERE status = 'fresh');
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;
SELECT entity_id, num_points, end_ts::date, round(drift::numeric, 3) AS drift, stale_since IS NOT NULL AS "out of date",
       cvx.num_points(cvx.trajectory(entity_id, :'space')) AS "points stored"
FROM cvx_view.movement WHERE entity_id = 'gcc-10';

\echo 'A training set: what each package looked like on three days, never with a value from after.'
\echo
CREATE TABLE demo_labels AS
SELECT p.entity_id, d.ts FROM unnest(ARRAY['gcc-10', 'systemd']) AS p(entity_id),
    unnest(ARRAY['2015-01-01', '2020-06-01', '2024-01-01']::timestamptz[]) AS d(ts);
SELECT cvx.create_training_set('labelled', 'demo_labels', ARRAY['movement']) \g /dev/null
SELECT entity_id, ts::date, movement_valid_from::date AS "as of the release of", round(movement_drift::numeric, 3) AS drift,
       round(movement_mean_speed::numeric, 3) AS "mean speed"
FROM cvx_training.labelled ORDER BY 1, 2;
