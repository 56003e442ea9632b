-- How likely noise alone moves a trajectory as far.

CREATE FUNCTION cvx.drift_p_value(t cvx.trajectory, metric text DEFAULT 'cosine') RETURNS float8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS 'MODULE_PATHNAME', 'drift_p_value_wrapper';
CREATE FUNCTION cvx.velocity_p_value(t cvx.trajectory) RETURNS float8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS 'MODULE_PATHNAME', 'velocity_p_value_wrapper';

COMMENT ON FUNCTION cvx.drift_p_value(cvx.trajectory, text) IS
    'the probability that normal noise about a fixed mean, of any covariance, sets the first and the last point as far '
    'apart, by cosine or l2; the noise is that of the differences of successive points in between, the largest tenth '
    'left out; NULL for fewer than 4 points, 0 when only the ends differ';
COMMENT ON FUNCTION cvx.velocity_p_value(cvx.trajectory) IS
    'the probability that normal noise about a fixed mean makes a last step as long; as drift_p_value otherwise';
