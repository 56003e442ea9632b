-- Alignment of model versions, and projection along it.

CREATE FUNCTION cvx._max_align_dims() RETURNS int
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'max_align_dims_wrapper';
COMMENT ON FUNCTION cvx._max_align_dims() IS 'the most dimensions of a space that can be aligned';

CREATE FUNCTION cvx._mean(space_id int, entity_id text, from_ts timestamptz, to_ts timestamptz) RETURNS vector
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT avg(e.vec) FROM cvx.embedding e
    WHERE e.space_id = _mean.space_id AND e.entity_id = _mean.entity_id AND e.ts >= from_ts AND e.ts <= to_ts;
END;
COMMENT ON FUNCTION cvx._mean(int, text, timestamptz, timestamptz) IS
    'mean of an entity''s vectors in a space from from_ts to to_ts';

-- Without statistics, as right after a load, nested loops over the keys of both spaces look cheap and take hours.
CREATE FUNCTION cvx._align(model text, version text, method text, min_overlap int) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    SET enable_nestloop = off
    AS 'MODULE_PATHNAME', 'align_wrapper';
COMMENT ON FUNCTION cvx._align(text, text, text, int) IS 'fits and stores an alignment; returns its status';

CREATE FUNCTION cvx.alignment_quality(
    INOUT model text,
    INOUT version text DEFAULT NULL,
    OUT predecessor text,
    OUT status text,
    OUT method text,
    OUT overlap_entities int,
    OUT pairs int,
    OUT mean_residual float8,
    OUT p95_residual float8,
    OUT p99_residual float8,
    OUT mean_cosine float8,
    OUT recall_at_10 float8,
    OUT confidence text,
    OUT computed_at timestamptz)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF $1 IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'null_value_not_allowed',
            MESSAGE = 'alignment_quality needs the name of a model';
    END IF;
    RETURN QUERY
    SELECT v.model, v.version, v.predecessor, a.status, a.method, a.overlap_entities, a.pairs,
           a.mean_residual, a.p95_residual, a.p99_residual, a.mean_cosine, a.recall_at_10,
           CASE a.status WHEN 'aligned' THEN 'normal' WHEN 'pending' THEN NULL ELSE a.status END,
           a.computed_at
    FROM cvx.model_version v JOIN cvx.alignment a ON a.model = v.model AND a.version = v.version
    WHERE v.model = $1 AND ($2 IS NULL OR v.version = $2)
    ORDER BY v.registered_at, v.version;
    IF NOT FOUND AND NOT EXISTS (
        SELECT FROM cvx.model_version v WHERE v.model = $1 AND ($2 IS NULL OR v.version = $2))
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'undefined_object',
            MESSAGE = CASE WHEN $2 IS NULL THEN format('model %s does not exist', to_json($1))
                ELSE format('model %s has no version %s', to_json($1), to_json($2)) END,
            HINT = 'SELECT model, version FROM cvx.model_version lists the versions.';
    END IF;
END
$$;
COMMENT ON FUNCTION cvx.alignment_quality(text, text) IS
    'how well each version of a model is aligned to its predecessor, measured on entities that the fit had not seen';

CREATE FUNCTION cvx.align(
    INOUT model text,
    INOUT version text,
    INOUT method text DEFAULT 'procrustes',
    min_overlap int DEFAULT 100,
    OUT predecessor text,
    OUT status text,
    OUT overlap_entities int,
    OUT pairs int,
    OUT mean_residual float8,
    OUT p95_residual float8,
    OUT p99_residual float8,
    OUT mean_cosine float8,
    OUT recall_at_10 float8,
    OUT confidence text,
    OUT computed_at timestamptz)
    RETURNS record
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cvx._align(align.model, align.version, align.method, align.min_overlap);
    SELECT q.method, q.predecessor, q.status, q.overlap_entities, q.pairs, q.mean_residual, q.p95_residual,
           q.p99_residual, q.mean_cosine, q.recall_at_10, q.confidence, q.computed_at
    INTO method, predecessor, status, overlap_entities, pairs, mean_residual, p95_residual,
         p99_residual, mean_cosine, recall_at_10, confidence, computed_at
    FROM cvx.alignment_quality(align.model, align.version) q;
END
$$;
COMMENT ON FUNCTION cvx.align(text, text, text, int) IS
    'fits the map from a version''s space to its predecessor''s: method procrustes, affine, cca or auto';

CREATE FUNCTION cvx.alignment_map(
    model text, version text, inverse bool DEFAULT false,
    OUT element int, OUT weights vector, OUT "offset" float4)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 768 AS 'MODULE_PATHNAME', 'alignment_map_wrapper';
COMMENT ON FUNCTION cvx.alignment_map(text, text, bool) IS
    'the map itself: element of the result = weights . vector + offset, onto the predecessor''s space or, inverse, from it';

CREATE FUNCTION cvx.project(vec vector, from_space text, to_space text) RETURNS vector
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 1000 AS 'MODULE_PATHNAME', 'project_vector_wrapper';
COMMENT ON FUNCTION cvx.project(vector, text, text) IS
    'a vector of one space, in another space of the same model';

CREATE FUNCTION cvx.project(t cvx.trajectory, from_space text, to_space text) RETURNS cvx.trajectory
    LANGUAGE c STABLE STRICT PARALLEL SAFE COST 10000 AS 'MODULE_PATHNAME', 'project_trajectory_wrapper';
COMMENT ON FUNCTION cvx.project(cvx.trajectory, text, text) IS
    'a trajectory of one space, in another space of the same model';
