-- Loading Parquet files of the server: the demo's, twice, with conflicts, into the wrong space, by the wrong role.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all

\getenv data CVX_TEST_DATA
SELECT create_space('v1', 384) IS NOT NULL AS made;
-- A call with the columns of the demo's files.
CREATE FUNCTION pg_temp.load(path text, space text DEFAULT 'v1', vector_column text DEFAULT 'embedding', source text DEFAULT 'files', batch_size int DEFAULT 10000,
    produced_at_column text DEFAULT NULL, OUT run_id bigint, OUT files int, OUT records_read bigint, OUT written bigint, OUT rejected bigint, OUT skipped bigint, OUT reject_reasons jsonb)
LANGUAGE sql AS $$
    SELECT * FROM ingest_parquet(path, space, 'package', 'uploaded_at', vector_column, model_version_column => 'model_version', input_hash_column => 'text_sha256',
        pipeline_hash_column => 'pipeline_hash', produced_at_column => produced_at_column, attrs_columns => ARRAY['version'], source => source, batch_size => batch_size)
$$;
SELECT files, records_read, written, rejected, skipped, reject_reasons FROM pg_temp.load(:'data' || '/changelog_v1.parquet') \gset first_
SELECT :first_files AS files, :first_records_read > 1000 AS many, :first_written = :first_records_read AS all_written, :first_rejected AS rejected, :first_skipped AS skipped, :'first_reject_reasons' AS reasons;
SELECT count(*) = :first_written AS rows_are_there, count(DISTINCT entity_id) AS packages, count(*) FILTER (WHERE source = 'files') = count(*) AS source,
       count(model_version) = count(*) AS model_version, count(input_hash) = count(*) AS input_hash, count(pipeline_hash) = count(*) AS pipeline_hash,
       count(attrs->>'version') = count(*) AS attrs, count(produced_at) AS produced_at, count(model_hash) AS model_hash FROM embedding;
SELECT count(*) AS differing FROM (SELECT entity_id, trajectory_agg(ts, vec) AS t, count(*) AS n FROM embedding GROUP BY 1) g WHERE num_points(t) <> n OR dims(t) <> 384;
-- The second run changes nothing, in batches of any size.
SELECT records_read = :first_records_read AS read_all, written, rejected, skipped = :first_records_read AS skipped_all FROM pg_temp.load(:'data' || '/changelog_v1.parquet');
SELECT written, skipped = :first_records_read AS skipped_all FROM pg_temp.load(:'data' || '/changelog_v1.parquet', batch_size => 7);
SELECT source, space_id = space_id('v1') AS space, finished_at > started_at AS finished, records_read = :first_records_read AS read, records_written = :first_records_read AS written, records_skipped > 0 AS skipped,
       bytes > records_read * 384 * 4 AS bytes, error FROM sync_run ORDER BY run_id;
-- A row that was produced later wins; one that is as old, or does not say, does not.
SELECT ts AS at, entity_id AS who FROM embedding ORDER BY entity_id, ts LIMIT 1 \gset
UPDATE embedding SET source = 'mine' WHERE entity_id = :'who' AND ts = :'at';
SELECT written, skipped = :first_records_read AS skipped_all FROM pg_temp.load(:'data' || '/changelog_v1.parquet', source => 'again');
SELECT source FROM embedding WHERE entity_id = :'who' AND ts = :'at';
SELECT written = :first_records_read AS replaced_all, skipped FROM pg_temp.load(:'data' || '/changelog_v1.parquet', source => 'later', produced_at_column => 'uploaded_at');
SELECT source, produced_at = ts AS produced_at FROM embedding WHERE entity_id = :'who' AND ts = :'at';
UPDATE embedding SET produced_at = produced_at + interval '1 second' WHERE entity_id = :'who';
UPDATE embedding SET produced_at = produced_at - interval '1 second' WHERE entity_id <> :'who' AND ts = (SELECT max(ts) FROM embedding);
SELECT written, skipped + written = :first_records_read AS all FROM pg_temp.load(:'data' || '/changelog_v1.parquet', source => 'latest', produced_at_column => 'uploaded_at');
SELECT source, count(*) > 1 AS more_than_one FROM embedding GROUP BY 1 ORDER BY 1;
SELECT count(*) = :first_written AS same_number FROM embedding;
-- A folder; other model versions in spaces of their own.
SELECT create_space('all', 384) IS NOT NULL AS made;
SELECT files, records_read = written + skipped AS all_read FROM pg_temp.load(:'data', 'all');
SELECT count(*) = (SELECT max(records_written) FROM sync_run WHERE space_id = space_id('all')) AS rows FROM embedding WHERE space_id = space_id('all');

-- Records that do not fit are refused one by one, counted, and kept.
SELECT create_space('narrow', 3) IS NOT NULL AS made;
SELECT written, rejected = :first_records_read AS rejected_all, (SELECT array_agg(k) FROM jsonb_object_keys(reject_reasons) k) AS reasons FROM pg_temp.load(:'data' || '/changelog_v1.parquet', 'narrow');
SELECT count(*) = :first_records_read AS kept, min(reason) AS reason, min(message) AS message, bool_and(source = 'files') AS source, bool_and(position ~ 'changelog_v1.parquet#[0-9]+$') AS position,
       max(length(payload::text)) < 2000 AS bounded, bool_and(payload ? 'entity_id') AS readable FROM dead_letter;
SELECT count(*) FROM embedding WHERE space_id = space_id('narrow');
-- It takes part in the caller's transaction.
BEGIN;
DELETE FROM embedding WHERE space_id = space_id('v1');
SELECT written = :first_records_read AS written_again FROM pg_temp.load(:'data' || '/changelog_v1.parquet');
ROLLBACK;
SELECT source FROM embedding WHERE space_id = space_id('v1') AND entity_id = :'who' AND ts = :'at';

-- What is wrong with a call. Paths are the machine's: shown as DATA.
CREATE PROCEDURE pg_temp.raises_for(data text, statement text) LANGUAGE plpgsql AS $$
DECLARE state text; message text; detail text; hint text;
BEGIN
    BEGIN
        EXECUTE replace(statement, 'DATA', data);
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
        RAISE NOTICE '% %', state, replace(message || coalesce(E'\nDETAIL:  ' || nullif(detail, ''), '') || coalesce(E'\nHINT:  ' || nullif(hint, ''), ''), data, 'DATA');
        RETURN;
    END;
    RAISE NOTICE 'no error: %', statement;
END
$$;
SELECT set_config('cvx_test.data', :'data', false) IS NOT NULL AS set;
CREATE PROCEDURE pg_temp.fails(statement text) LANGUAGE plpgsql AS $$ BEGIN CALL pg_temp.raises_for(current_setting('cvx_test.data'), statement); END $$;
CALL pg_temp.fails($$SELECT pg_temp.load('DATA/nothing.parquet')$$);
CALL pg_temp.fails($$SELECT pg_temp.load('DATA/changelog_v1.parquet/')$$);
CALL pg_temp.fails($$SELECT pg_temp.load('')$$);
CALL pg_temp.fails($$SELECT pg_temp.load('relative/path.parquet')$$);
CALL pg_temp.fails($$SELECT pg_temp.load(NULL)$$);
CALL pg_temp.fails($$SELECT pg_temp.load('DATA/changelog_v1.parquet', NULL)$$);
CALL pg_temp.fails($$SELECT pg_temp.load('DATA/changelog_v1.parquet', 'nowhere')$$);
CALL pg_temp.fails($$SELECT pg_temp.load('DATA/changelog_v1.parquet', vector_column => 'no_such_column')$$);
CALL pg_temp.fails($$SELECT pg_temp.load('DATA/changelog_v1.parquet', vector_column => 'package')$$);
CALL pg_temp.fails($$SELECT pg_temp.load('DATA/changelog_v1.parquet', vector_column => NULL)$$);
CALL pg_temp.fails($$SELECT pg_temp.load('DATA/changelog_v1.parquet', produced_at_column => 'embedding')$$);
CALL pg_temp.fails($$SELECT pg_temp.load('DATA/changelog_v1.parquet', batch_size => 0)$$);
CALL pg_temp.fails($$SELECT pg_temp.load('DATA/changelog_v1.parquet', batch_size => -1)$$);
CALL pg_temp.fails($$SELECT ingest_parquet('DATA/changelog_v1.parquet', 'v1')$$);
BEGIN READ ONLY;
CALL pg_temp.fails($$SELECT pg_temp.load('DATA/changelog_v1.parquet')$$);
ROLLBACK;

-- Rights: EXECUTE, pg_read_server_files and INSERT are each needed.
CREATE ROLE cvx_loader;
CREATE FUNCTION public.load_as(role name, statement text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', role);
    CALL pg_temp.fails(statement);
    RESET ROLE;
END
$$;
GRANT USAGE ON SCHEMA public TO cvx_loader;
CREATE FUNCTION pg_temp.as_loader() RETURNS void LANGUAGE sql AS $f$
    SELECT public.load_as('cvx_loader', $$SELECT cvx.ingest_parquet('DATA/changelog_v1.parquet', 'v1', 'package', 'uploaded_at', 'embedding')$$);
$f$;
SELECT pg_temp.as_loader();
GRANT pg_read_server_files TO cvx_loader;
SELECT pg_temp.as_loader();
SELECT grant_write('cvx_loader');
SELECT pg_temp.as_loader();
REVOKE pg_read_server_files FROM cvx_loader;
SELECT pg_temp.as_loader();
GRANT pg_read_server_files TO cvx_loader;
REVOKE INSERT ON cvx_space.v1 FROM cvx_loader;
SELECT pg_temp.as_loader();
GRANT INSERT ON cvx_space.v1 TO cvx_loader;
-- Row-level security for the role: COPY is not for it, and neither is this.
ALTER TABLE embedding ENABLE ROW LEVEL SECURITY;
SELECT pg_temp.as_loader();
ALTER TABLE embedding DISABLE ROW LEVEL SECURITY;
DROP FUNCTION public.load_as;
DROP OWNED BY cvx_loader;
DROP ROLE cvx_loader;
TRUNCATE sync_run, dead_letter;
SELECT drop_space('v1', true), drop_space('all', true), drop_space('narrow', true);
