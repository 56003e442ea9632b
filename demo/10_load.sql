-- Declares three sources, one a file, each filling a space of its own, and has the ingest worker read them. Set by the
-- caller: data (a folder the server can read).
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE EXTENSION cvx CASCADE;

SELECT cvx.create_space('changelog-v1', 384, 'all-MiniLM-L6-v2') \g /dev/null
SELECT cvx.create_space('changelog-v2', 384, 'the same, mildly retrained: weights with a tenth of noise, rotated') \g /dev/null
SELECT cvx.create_space('changelog-v3', 384, 'the same, harshly retrained: one layer fewer, rotated') \g /dev/null

SELECT cvx.create_source(
    name => format('changelog-%s', v),
    type => 's3_parquet',
    space => format('changelog-%s', v),
    schedule => '0 2 * * *',
    config => jsonb_build_object(
        'url', format('file://%s/changelog_%s.parquet', :'data', v),
        'entity_id_column', 'package',
        'timestamp_column', 'uploaded_at',
        'vector_column', 'embedding',
        'model_version_column', 'model_version',
        'input_hash_column', 'text_sha256',
        'pipeline_hash_column', 'pipeline_hash',
        'attrs_columns', '["version"]'::jsonb))
FROM unnest(ARRAY['v1', 'v2', 'v3']) AS v \g /dev/null

-- What follows waits for the worker, which sees a request when it is committed.
SELECT cvx.sync_source(name) FROM cvx.source \g /dev/null

DO $$
BEGIN
    FOR i IN 1..1200 LOOP
        IF NOT EXISTS (SELECT FROM cvx.sources WHERE last_success_at IS NULL) THEN
            RETURN;
        END IF;
        PERFORM pg_sleep(0.05);
    END LOOP;
    RAISE EXCEPTION USING
        MESSAGE = 'the sources were not read within a minute',
        DETAIL = (SELECT string_agg(concat_ws(' ', name, state, last_error), E'\n') FROM cvx.sources),
        HINT = 'SELECT * FROM cvx.workers';
END
$$;
ANALYZE cvx.embedding;

\echo 'What the worker made of it (cvx.sources):'
\echo
SELECT name AS source, state, next_run_at, records_read AS read, records_written AS written, records_rejected AS rejected,
       pg_size_pretty(bytes) AS fetched, round(rate) AS "records/s"
FROM cvx.sources ORDER BY 1;

\echo 'So now the database holds:'
\echo
SELECT s.name AS space, s.dims, count(DISTINCT e.entity_id) AS packages, count(*) AS embeddings,
       min(e.ts)::date AS first, max(e.ts)::date AS last, min(e.model_version) AS model_version
FROM cvx.embedding e JOIN cvx.space s USING (space_id)
GROUP BY s.name, s.dims ORDER BY s.name;
