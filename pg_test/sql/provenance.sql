-- What made the embeddings, and how fresh they are.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all

SELECT count(create_space(name, 2)) FROM unnest(ARRAY['old', 'new', 'void']) name;
INSERT INTO embedding (space_id, entity_id, ts, vec, source, model_version, model_hash, input_hash, pipeline_hash, produced_at, ingested_at, attrs)
SELECT space_id(v.space), v.entity_id, v.ts::timestamptz, '[1,2]', v.source, v.model_version, v.model_hash, 'in', 'pipe', v.ts::timestamptz + interval '1 hour', '2026-06-01', v.attrs::jsonb
FROM (VALUES
    ('old', 'a', '2026-01-01', 'nightly', 'v1', 'h1', '{"lang": "en"}'), ('old', 'a', '2026-01-02', 'nightly', 'v1', 'h1', NULL), ('old', 'a', '2026-01-03', 'backfill', 'v2', 'h1', NULL),
    ('new', 'a', '2026-01-02', 'nightly', 'v3', 'h3', NULL),
    ('old', 'b', '2026-01-01', NULL, 'v1', NULL, NULL), ('old', 'b', '2026-01-02', NULL, 'v1', NULL, NULL), ('old', 'b', '2026-01-03', NULL, NULL, NULL, NULL),
    ('old', 'c', '2026-01-01', NULL, NULL, NULL, NULL), ('old', 'd', '2026-01-01', '', NULL, 'h', NULL)) v(space, entity_id, ts, source, model_version, model_hash, attrs);

SELECT * FROM provenance('a');
SELECT space, ts, source FROM provenance('a', 'old');
SELECT space, ts, source FROM provenance('a', from_ts => '2026-01-02');
SELECT space, ts, source FROM provenance('a', 'old', '2026-01-02', '2026-01-02');
SELECT space, ts, source FROM provenance('a', source => 'backfill');
SELECT space, ts, source FROM provenance('a', NULL, '-infinity', 'infinity', NULL) WHERE space = 'new';
SELECT count(*) FROM provenance('a', from_ts => '2027-01-01');
SELECT count(*) FROM provenance('nobody');
SELECT count(*) FROM provenance(NULL);
SELECT space, ts, source, model_version FROM provenance('b');
CALL pg_temp.raises($$SELECT provenance('a', 'nowhere')$$);

SELECT entity_id, consistent_model(entity_id, 'old') FROM unnest(ARRAY['a', 'b', 'c', 'd', 'nobody', NULL]) entity_id;
SELECT consistent_model('a', 'old', to_ts => '2026-01-02') AS before, consistent_model('a', 'old', '2026-01-02') AS across, consistent_model('a', 'new') AS other,
       consistent_model('a', 'old', '2027-01-01') AS nothing, consistent_model('b', 'old', to_ts => '2026-01-02') AS recorded, consistent_model('a', NULL) AS "null";
CALL pg_temp.raises($$SELECT consistent_model('a', 'nowhere')$$);

SELECT source, last_ts, last_ingested_at, age = now() - last_ts AS age FROM freshness();
SELECT source, last_ts FROM freshness('nightly');
SELECT source, last_ts FROM freshness('');
SELECT count(*) FROM freshness('nowhere');

-- An entity's rows in a space are found by the key, with the other partitions left alone.
INSERT INTO embedding (space_id, entity_id, ts, vec) SELECT space_id('old'), 'e' || i, '2026-01-01', '[1,2]' FROM generate_series(1, 5000) i;
ANALYZE embedding;
SELECT pg_stat_force_next_flush();
SELECT relname, coalesce(seq_scan, 0) AS seq, coalesce(idx_scan, 0) AS idx FROM pg_stat_user_tables WHERE relid = 'cvx_space.old'::regclass \gset
SELECT count(*) FROM provenance('e7', 'old');
SELECT consistent_model('e7', 'old') IS NULL AS unknown;
SELECT pg_stat_force_next_flush();
SELECT seq_scan - :seq AS sequential_scans, idx_scan - :idx AS index_scans FROM pg_stat_user_tables WHERE relid = 'cvx_space.old'::regclass;
SELECT drop_space('void'), drop_space('old', true), drop_space('new', true);
