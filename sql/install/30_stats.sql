-- How far and how a trajectory moved.

CREATE FUNCTION cvx.drift(t cvx.trajectory, metric text DEFAULT 'cosine') RETURNS float8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE SUPPORT cvx._trajectory_ends_support
    AS 'MODULE_PATHNAME', 'drift_wrapper';
CREATE FUNCTION cvx.drift_trend(
    t cvx.trajectory, metric text DEFAULT 'cosine', unit interval DEFAULT '1 day') RETURNS float8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'drift_trend_wrapper';
CREATE FUNCTION cvx.volatility(t cvx.trajectory, unit interval DEFAULT '1 day') RETURNS float8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'volatility_wrapper';
CREATE FUNCTION cvx.drift_entropy(t cvx.trajectory) RETURNS float8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE SUPPORT cvx._trajectory_ends_support
    AS 'MODULE_PATHNAME', 'drift_entropy_wrapper';
CREATE FUNCTION cvx.stability_score(t cvx.trajectory) RETURNS float8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'stability_score_wrapper';
CREATE FUNCTION cvx.hurst(t cvx.trajectory) RETURNS float8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'hurst_wrapper';
CREATE FUNCTION cvx.drift_report(
    t cvx.trajectory, top int DEFAULT 10,
    OUT l2 float8, OUT cosine float8, OUT dimensions int[], OUT changes float8[]) RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1 SUPPORT cvx._trajectory_ends_support
    AS 'MODULE_PATHNAME', 'drift_report_wrapper';

COMMENT ON FUNCTION cvx.drift(cvx.trajectory, text) IS
    'distance of the first and the last point: metric ''cosine'' (1 - cosine similarity) or ''l2''';
COMMENT ON FUNCTION cvx.drift_trend(cvx.trajectory, text, interval) IS
    'how fast the drift grows: least-squares slope of the distance from the first point against time in units';
COMMENT ON FUNCTION cvx.volatility(cvx.trajectory, interval) IS
    'square root of the summed sample variances of the steps, each divided by the root of its duration';
COMMENT ON FUNCTION cvx.drift_entropy(cvx.trajectory) IS
    'how the drift spreads over the dimensions: 0 one dimension moved, 1 all moved alike';
COMMENT ON FUNCTION cvx.stability_score(cvx.trajectory) IS
    'mean resultant length of the directions of the points: 1 is still';
COMMENT ON FUNCTION cvx.hurst(cvx.trajectory) IS
    'Hurst exponent of the step lengths by rescaled range; NULL when there are too few steps';
COMMENT ON FUNCTION cvx.drift_report(cvx.trajectory, int) IS
    'drift by both metrics and the top dimensions (counted from 1) by size of change, with their changes';
