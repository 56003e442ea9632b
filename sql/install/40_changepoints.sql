-- Change points of one trajectory.

CREATE FUNCTION cvx.changepoints(
    t cvx.trajectory,
    method text DEFAULT 'pelt',
    cost text DEFAULT 'l2',
    penalty float8 DEFAULT NULL,
    min_size int DEFAULT 2,
    alpha float8 DEFAULT 0.05,
    gamma float8 DEFAULT NULL,
    autocorrelated bool DEFAULT false)
    RETURNS TABLE (ts timestamptz, index int, severity float8, shift vector)
    LANGUAGE c IMMUTABLE PARALLEL SAFE COST 100000 ROWS 3 AS 'MODULE_PATHNAME', 'changepoints_wrapper';

COMMENT ON FUNCTION cvx.changepoints(cvx.trajectory, text, text, float8, int, float8, float8, bool) IS
    'exact change points by PELT (Killick, Fearnhead and Eckley 2012) under cost l2, cosine or rbf; a NULL penalty is '
    'calibrated from the data so that a trajectory without change shows any with probability at most alpha; index counts '
    'the points before the break, ts is the first point after it, severity is d^2/(1+d^2) with d the shift in noise '
    'standard deviations, shift the mean after less the mean before; gamma is of the rbf kernel (NULL: median heuristic); '
    'autocorrelated => true accounts for noise that follows itself';
