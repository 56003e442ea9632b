-- Change points as points come in.

CREATE TYPE cvx.bocpd_state;

CREATE FUNCTION cvx.bocpd_state_in(cstring) RETURNS cvx.bocpd_state
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bocpd_state_in_wrapper';
CREATE FUNCTION cvx.bocpd_state_out(cvx.bocpd_state) RETURNS cstring
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bocpd_state_out_wrapper';
CREATE FUNCTION cvx.bocpd_state_recv(internal) RETURNS cvx.bocpd_state
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bocpd_state_recv_wrapper';
CREATE FUNCTION cvx.bocpd_state_send(cvx.bocpd_state) RETURNS bytea
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bocpd_state_send_wrapper';

CREATE TYPE cvx.bocpd_state (
    INPUT = cvx.bocpd_state_in,
    OUTPUT = cvx.bocpd_state_out,
    RECEIVE = cvx.bocpd_state_recv,
    SEND = cvx.bocpd_state_send,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = double,
    -- Floats hardly compress.
    STORAGE = external
);

COMMENT ON TYPE cvx.bocpd_state IS 'what cvx.bocpd_update has to know of a series to judge its next point';
COMMENT ON FUNCTION cvx.bocpd_state_in(cstring) IS 'reads hexadecimal digits, and checks every byte of them';
COMMENT ON FUNCTION cvx.bocpd_state_out(cvx.bocpd_state) IS 'hexadecimal digits; nothing is lost';
COMMENT ON FUNCTION cvx.bocpd_state_recv(internal) IS 'reads the binary form and checks every byte of it';
COMMENT ON FUNCTION cvx.bocpd_state_send(cvx.bocpd_state) IS 'binary form, little endian on every machine';

CREATE FUNCTION cvx.bocpd(
    t cvx.trajectory,
    hazard float8 DEFAULT 0.004,
    threshold float8 DEFAULT 0.5)
    RETURNS TABLE (ts timestamptz, index int, probability float8, run_length int, severity float8,
                   detected_at timestamptz)
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 10000 ROWS 3 AS 'MODULE_PATHNAME', 'bocpd_wrapper';
CREATE FUNCTION cvx.bocpd_update(
    state cvx.bocpd_state,
    ts timestamptz,
    vec vector,
    hazard float8 DEFAULT 0.004,
    threshold float8 DEFAULT 0.5) RETURNS cvx.bocpd_state
    LANGUAGE c IMMUTABLE PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'bocpd_update_wrapper';
CREATE FUNCTION cvx.bocpd_reported(
    state cvx.bocpd_state,
    OUT ts timestamptz, OUT index int, OUT probability float8, OUT run_length int, OUT severity float8,
    OUT detected_at timestamptz) RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1 AS 'MODULE_PATHNAME', 'bocpd_reported_wrapper';
CREATE FUNCTION cvx.bocpd_last_ts(state cvx.bocpd_state) RETURNS timestamptz
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bocpd_last_ts_wrapper';
CREATE FUNCTION cvx.bocpd_num_points(state cvx.bocpd_state) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bocpd_num_points_wrapper';
CREATE FUNCTION cvx.bocpd_probability(state cvx.bocpd_state) RETURNS float8
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bocpd_probability_wrapper';
CREATE FUNCTION cvx.bocpd_run_length(state cvx.bocpd_state) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'bocpd_run_length_wrapper';

COMMENT ON FUNCTION cvx.bocpd(cvx.trajectory, float8, float8) IS
    'change points as they would have been reported while the points came in (Bayesian online detection, Adams and MacKay '
    '2007): hazard is the prior probability of a change at each point, threshold the posterior one at which it is reported; '
    'index counts the points before the change, ts is the first point after it, detected_at the point that decided, '
    'run_length the points from ts to there, severity is d^2/(1+d^2) with d the shift of the mean in noise standard deviations';
COMMENT ON FUNCTION cvx.bocpd_update(cvx.bocpd_state, timestamptz, vector, float8, float8) IS
    'the state after one more point, which has to be later than the last one; a NULL state begins a series, and hazard and '
    'threshold are those of its beginning; a NULL point changes nothing';
COMMENT ON FUNCTION cvx.bocpd_reported(cvx.bocpd_state) IS
    'the change that the last point led to the report of, as cvx.bocpd has it; no row when it led to none';
COMMENT ON FUNCTION cvx.bocpd_last_ts(cvx.bocpd_state) IS 'time of the last point';
COMMENT ON FUNCTION cvx.bocpd_num_points(cvx.bocpd_state) IS 'how many points were taken in';
COMMENT ON FUNCTION cvx.bocpd_probability(cvx.bocpd_state) IS
    'posterior probability that a change has happened since the last reported one, or the beginning';
COMMENT ON FUNCTION cvx.bocpd_run_length(cvx.bocpd_state) IS
    'length of the most probable run: the number of points since what is most likely the last change';
