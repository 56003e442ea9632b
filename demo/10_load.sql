-- Loads the three files, each into a space of its own. Set by the caller: data (a folder the server can read).
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE EXTENSION cvx CASCADE;

SELECT cvx.create_space('changelog-v1', 384, 'all-MiniLM-L6-v2') \g /dev/null
SELECT cvx.create_space('changelog-v2', 384, 'the same, mildly retrained: weights with a tenth of noise, rotated') \g /dev/null
SELECT cvx.create_space('changelog-v3', 384, 'the same, harshly retrained: one layer fewer, rotated') \g /dev/null

SELECT format('changelog-%s', v) AS space, load.files, load.records_read AS read, load.written, load.rejected
FROM unnest(ARRAY['v1', 'v2', 'v3']) AS v,
     cvx.ingest_parquet(
         path => format('%s/changelog_%s.parquet', :'data', v),
         space => format('changelog-%s', v),
         entity_id_column => 'package',
         timestamp_column => 'uploaded_at',
         vector_column => 'embedding',
         model_version_column => 'model_version',
         input_hash_column => 'text_sha256',
         pipeline_hash_column => 'pipeline_hash',
         attrs_columns => ARRAY['version'],
         source => 'demo-files') AS load
ORDER BY 1;
ANALYZE cvx.embedding;

\echo 'So now the database holds:'
\echo
SELECT s.name AS space, s.dims, count(DISTINCT e.entity_id) AS packages, count(*) AS embeddings,
       min(e.ts)::date AS first, max(e.ts)::date AS last, min(e.model_version) AS model_version
FROM cvx.embedding e JOIN cvx.space s USING (space_id)
GROUP BY s.name, s.dims ORDER BY s.name;
