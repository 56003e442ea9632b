-- Derivatives and lengths of trajectories.

CREATE FUNCTION cvx.velocity(
    t cvx.trajectory, at timestamptz DEFAULT NULL, unit interval DEFAULT '1 day') RETURNS vector
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'velocity_wrapper';
CREATE FUNCTION cvx.speed(
    t cvx.trajectory, at timestamptz DEFAULT NULL, unit interval DEFAULT '1 day') RETURNS float8
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'speed_wrapper';
CREATE FUNCTION cvx.mean_speed(t cvx.trajectory, unit interval DEFAULT '1 day') RETURNS float8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mean_speed_wrapper';
CREATE FUNCTION cvx.acceleration(
    t cvx.trajectory, at timestamptz DEFAULT NULL, unit interval DEFAULT '1 day') RETURNS vector
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'acceleration_wrapper';
CREATE FUNCTION cvx.path_length(t cvx.trajectory) RETURNS float8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'path_length_wrapper';
CREATE FUNCTION cvx.efficiency(t cvx.trajectory) RETURNS float8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'efficiency_wrapper';

COMMENT ON FUNCTION cvx.velocity(cvx.trajectory, timestamptz, interval) IS
    'first derivative per unit at the point nearest at (default: the last), as numpy.gradient on uneven spacing';
COMMENT ON FUNCTION cvx.speed(cvx.trajectory, timestamptz, interval) IS 'norm of the velocity, per unit';
COMMENT ON FUNCTION cvx.mean_speed(cvx.trajectory, interval) IS 'path_length divided by duration, per unit';
COMMENT ON FUNCTION cvx.acceleration(cvx.trajectory, timestamptz, interval) IS
    'three-point second derivative per unit squared at the point nearest at (default: the last)';
COMMENT ON FUNCTION cvx.path_length(cvx.trajectory) IS 'sum of the Euclidean lengths of the steps';
COMMENT ON FUNCTION cvx.efficiency(cvx.trajectory) IS
    'distance of the ends divided by path_length: 1 is straight, 0 returns to its start';
