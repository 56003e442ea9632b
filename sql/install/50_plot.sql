-- A picture of one trajectory.

CREATE FUNCTION cvx.trajectory_svg(t cvx.trajectory, title text DEFAULT NULL, changepoints bool DEFAULT true)
    RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE COST 100000 AS 'MODULE_PATHNAME', 'trajectory_svg_wrapper';

COMMENT ON FUNCTION cvx.trajectory_svg(cvx.trajectory, text, bool) IS
    'the path in its two leading principal components as SVG: coloured by time, change points marked, dates in UTC';
