-- Trajectories over all versions of a model, in the frame of its first.

CREATE FUNCTION cvx.canonical(
    entity_id text, model text, from_ts timestamptz DEFAULT NULL, to_ts timestamptz DEFAULT NULL)
    RETURNS cvx.trajectory
    LANGUAGE c STABLE PARALLEL SAFE COST 20000 AS 'MODULE_PATHNAME', 'canonical_wrapper';
COMMENT ON FUNCTION cvx.canonical(text, text, timestamptz, timestamptz) IS
    'the trajectory of an entity over all versions of a model, in the space of its first version; where two versions '
    'have a time, the one nearer to the first; NULL when there is nothing';

CREATE FUNCTION cvx.canonical_trajectory(
    entity_id text, model text, from_ts timestamptz DEFAULT NULL, to_ts timestamptz DEFAULT NULL,
    OUT ts timestamptz, OUT vec vector, OUT original_space text, OUT model_version text,
    OUT alignment_residual float8, OUT alignment_error float8)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL SAFE COST 20000 ROWS 100 AS 'MODULE_PATHNAME', 'canonical_trajectory_wrapper';
COMMENT ON FUNCTION cvx.canonical_trajectory(text, text, timestamptz, timestamptz) IS
    'the points of cvx.canonical, each with where it comes from, how far projection moved it (alignment_residual) and '
    'how far off the projection is expected to be (alignment_error)';

CREATE FUNCTION cvx.model_changepoints(
    entity_id text, model text, from_ts timestamptz DEFAULT NULL, to_ts timestamptz DEFAULT NULL,
    method text DEFAULT 'pelt', cost text DEFAULT 'l2', penalty float8 DEFAULT NULL, min_size int DEFAULT 2,
    alpha float8 DEFAULT 0.05, gamma float8 DEFAULT NULL, autocorrelated bool DEFAULT false,
    OUT ts timestamptz, OUT severity float8, OUT classification text, OUT model_boundary timestamptz,
    OUT confidence float8, OUT alignment_residual float8, OUT alignment_error float8,
    OUT source text, OUT model_version text, OUT pipeline_hash text)
    RETURNS SETOF record
    LANGUAGE c STABLE PARALLEL SAFE COST 100000 ROWS 10 AS 'MODULE_PATHNAME', 'model_changepoints_wrapper';
COMMENT ON FUNCTION cvx.model_changepoints(
    text, text, timestamptz, timestamptz, text, text, float8, int, float8, float8, bool) IS
    'when an entity changed, over all versions of a model: real_change, or model_artifact where a new version explains '
    'the jump; with the confidence of that verdict and what made the first embedding after it';

CREATE FUNCTION cvx.canonical_svg(
    entity_id text, model text, from_ts timestamptz DEFAULT NULL, to_ts timestamptz DEFAULT NULL,
    title text DEFAULT NULL, changepoints bool DEFAULT true, aligned bool DEFAULT true) RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE COST 100000 AS 'MODULE_PATHNAME', 'canonical_svg_wrapper';
COMMENT ON FUNCTION cvx.canonical_svg(text, text, timestamptz, timestamptz, text, bool, bool) IS
    'a picture of cvx.canonical, coloured by model version; aligned => false draws the vectors as they are stored';
