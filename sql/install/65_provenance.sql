-- What made the embeddings, and how fresh they are.

CREATE FUNCTION cvx.provenance(
    entity_id text,
    INOUT space text DEFAULT NULL,
    from_ts timestamptz DEFAULT NULL,
    to_ts timestamptz DEFAULT NULL,
    INOUT source text DEFAULT NULL,
    OUT ts timestamptz,
    OUT model_version text,
    OUT model_hash text,
    OUT input_hash text,
    OUT pipeline_hash text,
    OUT produced_at timestamptz,
    OUT ingested_at timestamptz,
    OUT attrs jsonb)
    RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.name, e.source, e.ts, e.model_version, e.model_hash, e.input_hash, e.pipeline_hash,
           e.produced_at, e.ingested_at, e.attrs
    FROM cvx.embedding e JOIN cvx.space s ON s.space_id = e.space_id
    WHERE e.entity_id = provenance.entity_id
      AND (provenance.space IS NULL OR e.space_id = cvx.space_id(provenance.space))
      AND e.ts >= coalesce(provenance.from_ts, '-infinity')
      AND e.ts <= coalesce(provenance.to_ts, 'infinity')
      AND (provenance.source IS NULL OR e.source = provenance.source)
    ORDER BY s.name, e.ts
$$;
COMMENT ON FUNCTION cvx.provenance(text, text, timestamptz, timestamptz, text) IS
    'what made each embedding of an entity: model, input, pipeline, source; NULL arguments do not restrict';

CREATE FUNCTION cvx.consistent_model(
    entity_id text, space text, from_ts timestamptz DEFAULT NULL, to_ts timestamptz DEFAULT NULL) RETURNS bool
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN count(e.model_version) + count(e.model_hash) = 0 THEN NULL
                ELSE count(DISTINCT (e.model_version, e.model_hash)) = 1 END
    FROM cvx.embedding e
    WHERE e.entity_id = consistent_model.entity_id
      AND e.space_id = cvx.space_id(consistent_model.space)
      AND e.ts >= coalesce(consistent_model.from_ts, '-infinity')
      AND e.ts <= coalesce(consistent_model.to_ts, 'infinity')
$$;
COMMENT ON FUNCTION cvx.consistent_model(text, text, timestamptz, timestamptz) IS
    'whether one model made all embeddings of an entity in a range: same model_version and model_hash throughout; '
    'NULL when no model is recorded';

CREATE FUNCTION cvx.freshness(
    INOUT source text DEFAULT NULL,
    OUT last_ts timestamptz,
    OUT last_ingested_at timestamptz,
    OUT age interval)
    RETURNS SETOF record
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.source, max(e.ts), max(e.ingested_at), now() - max(e.ts)
    FROM cvx.embedding e
    WHERE freshness.source IS NULL OR e.source = freshness.source
    GROUP BY e.source
    ORDER BY e.source
$$;
COMMENT ON FUNCTION cvx.freshness(text) IS
    'of each source: its newest embedding by event time, the last arrival, and the age of the newest';
