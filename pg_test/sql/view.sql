-- Views: what each type holds, what a change marks, what a refresh computes, what is refused and with which hint.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all

SELECT create_space('views', 2) IS NOT NULL AS made;
INSERT INTO cvx_space.views (entity_id, ts, vec, attrs) VALUES
    ('a', '2026-01-01', '[1,0]', NULL), ('a', '2026-01-03', '[0,1]', NULL), ('a', '2026-01-04', '[-1,0]', '{"plan": "pro"}'),
    ('b', '2026-01-02', '[3,4]', '{"plan": "pro"}'), ('b', '2026-01-09', '[6,8]', '{"plan": "free"}'),
    ('c', '2026-01-05', '[1,1]', '{"plan": "pro", "seats": 3}');

-- temporal_features

SELECT create_view('features', 'temporal_features', 'views', refresh_policy => 'manual');
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'cvx_view.features'::regclass AND attnum > 0 ORDER BY attnum;
SELECT count(*) FROM cvx_view.features;
SELECT status, entities, last_computed FROM views WHERE name = 'features';
SELECT refresh_view('features');
SELECT entity_id, num_points, start_ts, end_ts, pg_temp.r6(drift) AS drift, pg_temp.r6(drift_l2) AS l2, pg_temp.r6(path_length) AS length,
       pg_temp.r6(mean_speed) AS mean_speed, pg_temp.r6(efficiency) AS efficiency, hurst, stale_since FROM cvx_view.features ORDER BY 1;
SELECT status, entities, stale_entities, stale_since, last_error, hint FROM views WHERE name = 'features';
-- Every statement marks the entities that it changed, and no other.
INSERT INTO cvx_space.views (entity_id, ts, vec) VALUES ('c', '2026-01-06', '[2,0]'), ('c', '2026-01-07', '[2,2]'), ('d', '2026-01-01', '[1,1]');
SELECT entity_id, stale_since IS NOT NULL AS is_stale FROM cvx_view.features ORDER BY 1;
SELECT status, stale_entities FROM views WHERE name = 'features';
SELECT space, entries FROM invalidation_log WHERE space = 'views';
UPDATE embedding SET entity_id = 'e' WHERE space_id = space_id('views') AND entity_id = 'b' AND ts = '2026-01-09';
DELETE FROM cvx_space.views WHERE entity_id = 'nobody';
SELECT entity_id, stale_since IS NOT NULL AS is_stale FROM cvx_view.features ORDER BY 1;
SELECT refresh_view('features', ARRAY['c', 'nobody']);
SELECT entity_id, num_points, stale_since IS NOT NULL AS is_stale FROM cvx_view.features ORDER BY 1;
SELECT refresh_view('features');
SELECT refresh_view('features');
SELECT refresh_view('features', ARRAY['a', 'b'], force => true);
SELECT entity_id, num_points, end_ts, stale_since FROM cvx_view.features ORDER BY 1;
-- A change that is undone has marked nothing.
BEGIN;
DELETE FROM cvx_space.views WHERE entity_id = 'a';
SELECT entity_id FROM cvx_view.features WHERE stale_since IS NOT NULL;
ROLLBACK;
SELECT entity_id FROM cvx_view.features WHERE stale_since IS NOT NULL;
SELECT invalidate_view('features');
SELECT count(*) FROM cvx_view.features WHERE stale_since IS NOT NULL;
SELECT refresh_view('features');
SELECT drop_view('features');

SELECT create_view('chosen', 'temporal_features', 'views', refresh_policy => 'manual', config => '{"features": ["velocity", "drift_report", "drift"],
    "window": "2 days", "unit": "12 hours", "metric": "l2", "top": 1}');
SELECT refresh_view('chosen');
SELECT entity_id, num_points, velocity, drift_report, pg_temp.r6(drift) AS drift FROM cvx_view.chosen ORDER BY 1;
SELECT drop_view('chosen');

-- drift_summary: weeks from a Monday

SELECT create_view('weeks', 'drift_summary', 'views', refresh_policy => 'manual', config => '{"window": "7 days", "metric": "l2", "origin": "2026-01-05"}');
SELECT refresh_view('weeks');
SELECT entity_id, window_start, window_end, count, pg_temp.r6(drift) AS drift, pg_temp.r6(rate) AS rate, pg_temp.r6(trend) AS trend FROM cvx_view.weeks ORDER BY 1, 2;
SELECT drop_view('weeks');

-- changepoint_cache

INSERT INTO cvx_space.views (entity_id, ts, vec) SELECT 'jump', '2026-01-01'::timestamptz + i * interval '1 day', CASE WHEN i < 6 THEN '[1,1]' ELSE '[5,1]' END::vector
FROM generate_series(0, 11) i;
SELECT create_view('breaks', 'changepoint_cache', 'views', refresh_policy => 'manual', config => '{"penalty": 2}');
SELECT refresh_view('breaks');
SELECT entity_id, ts, index FROM cvx_view.breaks ORDER BY 1, 2;
SELECT drop_view('breaks');

-- cohort_snapshot: of a query, and of those whose last point says so

CREATE TABLE members (id text);
INSERT INTO members VALUES ('a'), ('b'), ('c');
SELECT create_view('cohort', 'cohort_snapshot', 'views', refresh_policy => 'manual', config => '{"metric": "l2", "query": "SELECT id FROM public.members"}');
SELECT refresh_view('cohort') > 0 AS computed;
SELECT entity_id, num_points, pg_temp.r6(centroid_distance) AS to_centroid, pg_temp.r6(mean_divergence) AS mean, others, divergences::float4[]
FROM cvx_view.cohort ORDER BY 1;
DELETE FROM members WHERE id = 'b';
SELECT count(*) AS stale FROM cvx_view.cohort WHERE stale_since IS NOT NULL;
SELECT refresh_view('cohort') > 0 AS computed;
SELECT entity_id, others, divergences::float4[] FROM cvx_view.cohort ORDER BY 1;
SELECT drop_view('cohort');
DROP TABLE members;
SELECT create_view('pros', 'temporal_features', 'views', refresh_policy => 'manual', entity_filter => '{"attrs": {"plan": "pro"}}', config => '{"features": ["drift"]}');
SELECT refresh_view('pros') > 0 AS computed;
SELECT entity_id FROM cvx_view.pros ORDER BY 1;
UPDATE cvx_space.views SET attrs = '{"plan": "pro"}' WHERE entity_id = 'd';
SELECT refresh_view('pros') > 0 AS computed;
SELECT entity_id FROM cvx_view.pros ORDER BY 1;
SELECT drop_view('pros');

-- A table of a user's own

CREATE TABLE "Items" ("Item" bigint, "At" timestamptz, "Half" halfvec(2));
INSERT INTO "Items" VALUES (7, '2026-01-01', '[1,0]'), (7, '2026-01-02', '[0,2]'), (8, '2026-01-01', '[1,1]'), (NULL, '2026-01-01', '[1,1]'), (9, NULL, '[1,1]');
SELECT create_view('items', 'temporal_features', source_table => '"Items"', entity_column => 'Item', ts_column => 'At', vector_column => 'Half',
    refresh_policy => 'manual', config => '{"features": ["drift"]}');
SELECT refresh_view('items') > 0 AS computed;
SELECT entity_id, pg_typeof(entity_id) AS type, num_points, drift FROM cvx_view.items ORDER BY 1;
SELECT name, space, source_table, status FROM views;
UPDATE "Items" SET "Item" = 10 WHERE "Item" = 8;
SELECT refresh_view('items');
SELECT entity_id, num_points FROM cvx_view.items ORDER BY 1;
TRUNCATE "Items";
SELECT count(*) AS stale FROM cvx_view.items WHERE stale_since IS NOT NULL;
SELECT refresh_view('items') >= 0 AS refreshed;
SELECT count(*) FROM cvx_view.items;
-- What a view reads is not dropped under it.
CALL pg_temp.raises($$DROP TABLE "Items"$$);
CALL pg_temp.raises($$ALTER TABLE "Items" DROP COLUMN "Half"$$);
SELECT drop_view('items');
DROP TABLE "Items";

-- What is refused

CALL pg_temp.raises($$SELECT create_view(NULL, 'temporal_features', 'views')$$);
CALL pg_temp.raises($$SELECT create_view('', 'temporal_features', 'views')$$);
CALL pg_temp.raises(format('SELECT create_view(%L, ''temporal_features'', ''views'')', repeat('x', 64)));
CALL pg_temp.raises($$SELECT create_view('v', 'features', 'views')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'temporal_features')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'temporal_features', 'nowhere')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'temporal_features', model => 'nothing')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'temporal_features', 'views', refresh_policy => 'always')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'temporal_features', 'views', refresh_policy => 'scheduled')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'temporal_features', 'views', schedule => '0 2 * * *')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'temporal_features', 'views', refresh_policy => 'scheduled', schedule => 'daily')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'temporal_features', 'views', retention => '-1 day')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'temporal_features', 'views', config => '{"feature": "drift"}')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'temporal_features', 'views', config => '{"features": ["speeed"]}')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'temporal_features', 'views', config => '{"window": "1 month"}')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'drift_summary', 'views')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'changepoint_cache', 'views', config => '{"history": true}')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'changepoint_cache', 'views', config => '{"method": "guess"}')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'cohort_snapshot', 'views', config => '{"query": "DELETE FROM cvx.view"}')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'cohort_snapshot', 'views', retention => '1 day')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'temporal_features', 'views', entity_filter => '{"ids": []}')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'temporal_features', source_table => 'pg_class')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'temporal_features', source_table => 'pg_class', entity_column => 'relname', ts_column => 'oid', vector_column => 'x')$$);
CALL pg_temp.raises($$SELECT create_view('v', 'temporal_features', source_table => 'cvx.embedding', entity_column => 'entity_id', ts_column => 'ts', vector_column => 'vec')$$);
CALL pg_temp.raises($$SELECT refresh_view('v')$$);
CALL pg_temp.raises($$SELECT drop_view('v')$$);
CALL pg_temp.raises($$SELECT invalidate_view(NULL)$$);
SELECT create_view('v', 'temporal_features', 'views', refresh_policy => 'manual');
CALL pg_temp.raises($$SELECT create_view('v', 'drift_summary', 'views', config => '{"window": "1 day"}')$$);
CALL pg_temp.raises($$SELECT drop_space('views')$$);
SELECT drop_space('views', true);
SELECT count(*) FROM view;
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname LIKE 'cvx\_view%' AND c.relkind IN ('r', 'v');
