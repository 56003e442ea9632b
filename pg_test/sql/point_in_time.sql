-- What views held at a time, what was known of it then, and training sets.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all
SET timezone = 'UTC';

SELECT create_space('pit', 2) > 0 AS made;
-- Three points as they happened, one that came ten days late, and an entity of one point.
INSERT INTO cvx_space.pit (entity_id, ts, ingested_at, vec) VALUES
    ('a', '2026-01-01', '2026-01-01', '[3,4]'), ('a', '2026-01-02', '2026-01-02', '[4,3]'), ('a', '2026-01-04', '2026-01-04', '[6,8]'),
    ('b', '2026-01-03', '2026-01-03', '[1,0]');
SELECT create_view('pit_all', 'temporal_features', space => 'pit', refresh_policy => 'manual', config => '{"history": true, "features": ["drift_l2", "velocity"]}');
SELECT create_view('pit_recent', 'temporal_features', space => 'pit', refresh_policy => 'manual', config => '{"history": true, "features": ["drift_l2"], "window": "2 days", "ttl": "3 days"}');
SELECT create_view('pit_bins', 'drift_summary', space => 'pit', refresh_policy => 'manual', config => '{"history": true, "window": "2 days", "metric": "l2"}');
SELECT create_view('pit_plain', 'temporal_features', space => 'pit', refresh_policy => 'manual');
SELECT refresh_view(n) FROM unnest(ARRAY['pit_all', 'pit_recent', 'pit_bins', 'pit_plain']) n;

-- One version a point.
SELECT entity_id, valid_from, valid_to, known_from, known_to, num_points, start_ts, end_ts, drift_l2, velocity FROM cvx_view_history.pit_all ORDER BY 1, 2, 4;
SELECT entity_id, valid_from, known_from, known_to, window_start, window_end, count, drift, rate, trend FROM cvx_view_history.pit_bins ORDER BY 1, 2, 3;

-- A late arrival is put in its place, and what it changes is known from then on.
INSERT INTO cvx_space.pit (entity_id, ts, ingested_at, vec) VALUES ('a', '2026-01-03', '2026-01-13', '[0,0.5]');
SELECT refresh_view(n) FROM unnest(ARRAY['pit_all', 'pit_recent', 'pit_bins']) n;
SELECT valid_from, valid_to, known_from, known_to, num_points, drift_l2, velocity FROM cvx_view_history.pit_all WHERE entity_id = 'a' ORDER BY 1, 3;
SELECT valid_from, valid_to, known_from, known_to, num_points, drift_l2 FROM cvx_view_history.pit_recent WHERE entity_id = 'a' ORDER BY 1, 3;
SELECT valid_from, known_from, known_to, window_start, count, drift FROM cvx_view_history.pit_bins WHERE entity_id = 'a' ORDER BY 1, 2;

-- features_as_of
SELECT jsonb_pretty(features_as_of('pit_all', 'a', '2026-01-03 12:00'));
SELECT features_as_of('pit_all', 'a', '2026-01-03 12:00', '2026-01-12') - 'velocity' AS known_before;
SELECT features_as_of('pit_all', 'a', '2026-01-03 12:00', '2026-01-03 12:00') ->> 'valid_to' AS next_point_unknown;
SELECT features_as_of('pit_bins', 'a', '2026-01-04') - 'rate' - 'trend' AS bins;
SELECT features_as_of('pit_all', 'a', 'infinity') ->> 'valid_from' AS last, features_as_of('pit_all', 'a', '-infinity') AS before_all, features_as_of('pit_all', 'a', '2026-01-04', '-infinity') AS before_known, features_as_of('pit_all', 'a', '2026-01-03', 'infinity') ->> 'valid_from' AS ever_known;
SELECT features_as_of('pit_all', 'nobody', now()) AS nobody, features_as_of(NULL, 'a', now()) AS no_view, features_as_of('pit_all', NULL, now()) AS no_entity, features_as_of('pit_all', 'a', NULL) AS no_time;
SELECT features_as_of('pit_recent', 'a', '2026-01-07') IS NULL AS just_expires, features_as_of('pit_recent', 'a', '2026-01-07 00:00:00.000001') IS NULL AS has_expired;
INSERT INTO cvx_space.pit (entity_id, ts, vec) VALUES ('a', '2026-01-05', '[1,1]');
SELECT features_as_of('pit_all', 'a', '2026-01-03') ->> 'stale_since' IS NOT NULL AS a_is_stale, features_as_of('pit_all', 'b', '2026-01-03') ->> 'stale_since' AS b_is_not;
DELETE FROM cvx_space.pit WHERE entity_id = 'a' AND ts = '2026-01-05';
SELECT refresh_view(n) FROM unnest(ARRAY['pit_all', 'pit_recent', 'pit_bins']) n;
SELECT features_as_of('pit_nowhere', 'a', now());
SELECT features_as_of('pit_plain', 'a', now());

-- Training sets
CREATE TABLE pit_spine (n int, entity_id varchar(10), ts timestamptz, "The label" bool);
INSERT INTO pit_spine VALUES (1, 'a', '2025-12-31', true), (2, 'a', '2026-01-01', false), (3, 'a', '2026-01-03 12:00', true), (4, 'a', '2026-01-20', true),
    (5, 'b', '2026-01-05', NULL), (5, 'b', '2026-01-05', NULL), (6, 'c', '2026-01-05', true), (7, NULL, '2026-01-05', true), (8, 'a', NULL, true);
SELECT create_training_set('pit_now', 'pit_spine', ARRAY['pit_all', 'pit_recent', 'pit_bins']);
SELECT n, "The label", "pit_all_drift_l2", "pit_all_valid_from", "pit_recent_drift_l2", "pit_recent_valid_from", "pit_bins_count", "pit_bins_drift", "pit_bins_valid_from" FROM cvx_training.pit_now ORDER BY n;
SELECT create_training_set('pit_then', 'pit_spine', ARRAY['pit_all', 'pit_recent', 'pit_bins'], bitemporal => true);
SELECT n, "pit_all_drift_l2", "pit_all_valid_from", "pit_recent_drift_l2", "pit_recent_valid_from", "pit_bins_count", "pit_bins_drift", "pit_bins_valid_from" FROM cvx_training.pit_then ORDER BY n;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'cvx_training.pit_then'::regclass AND attnum > 0 ORDER BY attnum;
SELECT name, spine, bitemporal, rows, owner = current_user AS mine, jsonb_path_query_array(views, '$[*].name') AS views, views -> 1 -> 'config' ->> 'ttl' AS ttl, views -> 1 ->> 'definition' LIKE '%trajectory_agg%' AS has_definition FROM training_set ORDER BY name;
CREATE VIEW pit_spine_view AS SELECT * FROM pit_spine WHERE n < 3;
SELECT create_training_set('pit_view', 'pit_spine_view', ARRAY['pit_all']);

-- What cannot be made
SELECT create_training_set('pit_now', 'pit_spine', ARRAY['pit_all']);
SELECT create_training_set('', 'pit_spine', ARRAY['pit_all']);
SELECT create_training_set(NULL, 'pit_spine', ARRAY['pit_all']);
SELECT create_training_set('pit_not', NULL, ARRAY['pit_all']);
SELECT create_training_set('pit_not', 'pit_spine', NULL);
SELECT create_training_set('pit_not', 'pit_spine', ARRAY[]::text[]);
SELECT create_training_set('pit_not', 'pit_spine', ARRAY['pit_all', NULL]);
SELECT create_training_set('pit_not', 'pit_spine', ARRAY['pit_all', 'pit_all']);
SELECT create_training_set('pit_not', 'pit_spine', ARRAY['pit_nowhere']);
SELECT create_training_set('pit_not', 'pit_spine', ARRAY['pit_plain']);
SELECT create_training_set('pit_not', 4294967295::oid::regclass, ARRAY['pit_all']);
SELECT create_training_set('pit_not', 'cvx_view_history.pit_all_pkey', ARRAY['pit_all']);
CREATE TABLE pit_bare (entity text, ts timestamptz);
SELECT create_training_set('pit_not', 'pit_bare', ARRAY['pit_all']);
ALTER TABLE pit_bare RENAME entity TO entity_id;
ALTER TABLE pit_bare ALTER ts TYPE timestamp;
SELECT create_training_set('pit_not', 'pit_bare', ARRAY['pit_all']);
ALTER TABLE pit_bare ALTER ts TYPE timestamptz, ALTER entity_id TYPE int USING 1;
SELECT create_training_set('pit_not', 'pit_bare', ARRAY['pit_all']);
ALTER TABLE pit_bare ALTER entity_id TYPE text, ADD pit_all_valid_from int;
SELECT create_training_set('pit_not', 'pit_bare', ARRAY['pit_all']);
SELECT to_regclass('cvx_training.pit_not') IS NULL AS nothing_was_made;

-- A table that was dropped by hand leaves its name free.
DROP TABLE cvx_training.pit_then;
SELECT create_training_set('pit_then', 'pit_spine', ARRAY['pit_bins']);
SELECT rows, jsonb_array_length(views) AS views FROM training_set WHERE name = 'pit_then';
DROP TABLE cvx_training.pit_view;
SELECT drop_training_set(n) FROM unnest(ARRAY['pit_now', 'pit_then', 'pit_view']) n;
SELECT drop_training_set('pit_now');
SELECT drop_training_set(NULL);
BEGIN READ ONLY;
SELECT create_training_set('pit_not', 'pit_spine', ARRAY['pit_all']);
ROLLBACK;
SELECT count(*) FROM training_set;

SELECT drop_view(n) FROM unnest(ARRAY['pit_all', 'pit_recent', 'pit_bins', 'pit_plain']) n;
SELECT count(*) AS left_over FROM pg_class WHERE relnamespace::regnamespace::text ~ '^cvx_(view|training)' AND relname LIKE 'pit%';
DROP TABLE pit_spine, pit_bare CASCADE;
SELECT drop_space('pit', cascade => true);
