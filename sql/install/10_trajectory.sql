-- The type, its operators, its aggregate and its accessors.

CREATE TYPE cvx.trajectory;

CREATE FUNCTION cvx.trajectory_in(cstring) RETURNS cvx.trajectory
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_in_wrapper';
CREATE FUNCTION cvx.trajectory_out(cvx.trajectory) RETURNS cstring
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_out_wrapper';
CREATE FUNCTION cvx.trajectory_recv(internal) RETURNS cvx.trajectory
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_recv_wrapper';
CREATE FUNCTION cvx.trajectory_send(cvx.trajectory) RETURNS bytea
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_send_wrapper';

CREATE TYPE cvx.trajectory (
    INPUT = cvx.trajectory_in,
    OUTPUT = cvx.trajectory_out,
    RECEIVE = cvx.trajectory_recv,
    SEND = cvx.trajectory_send,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = double,
    -- Floats hardly compress, and an uncompressed value is read in place.
    STORAGE = external
);

COMMENT ON TYPE cvx.trajectory IS 'points (timestamptz, vector) of one dimension in strictly increasing time';
COMMENT ON FUNCTION cvx.trajectory_in(cstring) IS 'reads {[0.1,0.2]@2026-01-01 00:00:00+00, ...}; {} is empty';
COMMENT ON FUNCTION cvx.trajectory_out(cvx.trajectory) IS 'lossless text, timestamps in the session''s time zone';
COMMENT ON FUNCTION cvx.trajectory_recv(internal) IS 'reads the binary form and checks every byte of it';
COMMENT ON FUNCTION cvx.trajectory_send(cvx.trajectory) IS 'binary form in network byte order';

-- Equality and hashing

CREATE FUNCTION cvx.trajectory_eq(cvx.trajectory, cvx.trajectory) RETURNS bool
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_eq_wrapper';
CREATE FUNCTION cvx.trajectory_ne(cvx.trajectory, cvx.trajectory) RETURNS bool
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_ne_wrapper';
CREATE FUNCTION cvx.trajectory_hash(cvx.trajectory) RETURNS int
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_hash_wrapper';
CREATE FUNCTION cvx.trajectory_hash_extended(cvx.trajectory, bigint) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_hash_extended_wrapper';

COMMENT ON FUNCTION cvx.trajectory_eq(cvx.trajectory, cvx.trajectory) IS 'same times and same values';
COMMENT ON FUNCTION cvx.trajectory_ne(cvx.trajectory, cvx.trajectory) IS 'not the same times and values';
COMMENT ON FUNCTION cvx.trajectory_hash(cvx.trajectory) IS 'hash for joins, grouping and hash indexes';
COMMENT ON FUNCTION cvx.trajectory_hash_extended(cvx.trajectory, bigint) IS 'hash with a seed, for hash partitioning';

CREATE OPERATOR cvx.= (
    LEFTARG = cvx.trajectory, RIGHTARG = cvx.trajectory, FUNCTION = cvx.trajectory_eq,
    COMMUTATOR = OPERATOR(cvx.=), NEGATOR = OPERATOR(cvx.<>),
    RESTRICT = pg_catalog.eqsel, JOIN = pg_catalog.eqjoinsel, HASHES
);
CREATE OPERATOR cvx.<> (
    LEFTARG = cvx.trajectory, RIGHTARG = cvx.trajectory, FUNCTION = cvx.trajectory_ne,
    COMMUTATOR = OPERATOR(cvx.<>), NEGATOR = OPERATOR(cvx.=),
    RESTRICT = pg_catalog.neqsel, JOIN = pg_catalog.neqjoinsel
);
COMMENT ON OPERATOR cvx.= (cvx.trajectory, cvx.trajectory) IS 'equal';
COMMENT ON OPERATOR cvx.<> (cvx.trajectory, cvx.trajectory) IS 'not equal';

CREATE OPERATOR CLASS cvx.trajectory_ops DEFAULT FOR TYPE cvx.trajectory USING hash AS
    OPERATOR 1 cvx.=,
    FUNCTION 1 cvx.trajectory_hash(cvx.trajectory),
    FUNCTION 2 cvx.trajectory_hash_extended(cvx.trajectory, bigint);
COMMENT ON OPERATOR CLASS cvx.trajectory_ops USING hash IS 'hash support for trajectories';

-- Aggregate

CREATE FUNCTION cvx._trajectory_agg_transfn(internal, timestamptz, vector) RETURNS internal
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_agg_transfn_wrapper';
CREATE FUNCTION cvx._trajectory_agg_combinefn(internal, internal) RETURNS internal
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_agg_combinefn_wrapper';
CREATE FUNCTION cvx._trajectory_agg_serialfn(internal) RETURNS bytea
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_agg_serialfn_wrapper';
CREATE FUNCTION cvx._trajectory_agg_deserialfn(bytea, internal) RETURNS internal
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_agg_deserialfn_wrapper';
CREATE FUNCTION cvx._trajectory_agg_finalfn(internal) RETURNS cvx.trajectory
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_agg_finalfn_wrapper';

COMMENT ON FUNCTION cvx._trajectory_agg_transfn(internal, timestamptz, vector) IS 'adds a point';
COMMENT ON FUNCTION cvx._trajectory_agg_combinefn(internal, internal) IS 'joins two partial states';
COMMENT ON FUNCTION cvx._trajectory_agg_serialfn(internal) IS 'state to bytes, between parallel workers';
COMMENT ON FUNCTION cvx._trajectory_agg_deserialfn(bytea, internal) IS 'bytes to state, between parallel workers';
COMMENT ON FUNCTION cvx._trajectory_agg_finalfn(internal) IS 'sorts the points by time';

CREATE AGGREGATE cvx.trajectory_agg(ts timestamptz, vec vector) (
    SFUNC = cvx._trajectory_agg_transfn,
    STYPE = internal,
    -- Some hundred points of a few hundred dimensions: what the planner counts for a group. Too little, and it
    -- hashes what then spills, where a scan in the primary key's order needs no memory at all.
    SSPACE = 131072,
    FINALFUNC = cvx._trajectory_agg_finalfn,
    COMBINEFUNC = cvx._trajectory_agg_combinefn,
    SERIALFUNC = cvx._trajectory_agg_serialfn,
    DESERIALFUNC = cvx._trajectory_agg_deserialfn,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE cvx.trajectory_agg(timestamptz, vector) IS
    'the trajectory of the points, in any order; NULLs are skipped; mixed dimensions and equal timestamps are errors';

-- The functions that look at the ends of a trajectory only have a planner support function, which puts this
-- aggregate in the place of trajectory_agg: same checks and same answer, in the memory of two points a group.

CREATE FUNCTION cvx._trajectory_ends_transfn(internal, timestamptz, vector) RETURNS internal
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_ends_transfn_wrapper';
CREATE FUNCTION cvx._trajectory_ends_combinefn(internal, internal) RETURNS internal
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_ends_combinefn_wrapper';
CREATE FUNCTION cvx._trajectory_ends_serialfn(internal) RETURNS bytea
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_ends_serialfn_wrapper';
CREATE FUNCTION cvx._trajectory_ends_deserialfn(bytea, internal) RETURNS internal
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_ends_deserialfn_wrapper';
CREATE FUNCTION cvx._trajectory_ends_finalfn(internal) RETURNS cvx.trajectory
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_ends_finalfn_wrapper';
CREATE FUNCTION cvx._trajectory_ends_support(internal) RETURNS internal
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_ends_support_wrapper';

COMMENT ON FUNCTION cvx._trajectory_ends_transfn(internal, timestamptz, vector) IS 'adds a point';
COMMENT ON FUNCTION cvx._trajectory_ends_combinefn(internal, internal) IS 'joins two partial states';
COMMENT ON FUNCTION cvx._trajectory_ends_serialfn(internal) IS 'state to bytes, between parallel workers';
COMMENT ON FUNCTION cvx._trajectory_ends_deserialfn(bytea, internal) IS 'bytes to state, between parallel workers';
COMMENT ON FUNCTION cvx._trajectory_ends_finalfn(internal) IS 'a trajectory of the first and the last point';
COMMENT ON FUNCTION cvx._trajectory_ends_support(internal) IS
    'planner support: f(trajectory_agg(ts, vec)) becomes f(_trajectory_ends_agg(ts, vec))';

CREATE AGGREGATE cvx._trajectory_ends_agg(ts timestamptz, vec vector) (
    SFUNC = cvx._trajectory_ends_transfn,
    STYPE = internal,
    SSPACE = 4096,
    FINALFUNC = cvx._trajectory_ends_finalfn,
    COMBINEFUNC = cvx._trajectory_ends_combinefn,
    SERIALFUNC = cvx._trajectory_ends_serialfn,
    DESERIALFUNC = cvx._trajectory_ends_deserialfn,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE cvx._trajectory_ends_agg(timestamptz, vector) IS
    'the first and the last point of what trajectory_agg would give';

-- Accessors

CREATE FUNCTION cvx.num_points(t cvx.trajectory) RETURNS int
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'num_points_wrapper';
CREATE FUNCTION cvx.dims(t cvx.trajectory) RETURNS int
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE SUPPORT cvx._trajectory_ends_support
    AS 'MODULE_PATHNAME', 'dims_wrapper';
CREATE FUNCTION cvx.start_ts(t cvx.trajectory) RETURNS timestamptz
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE SUPPORT cvx._trajectory_ends_support
    AS 'MODULE_PATHNAME', 'start_ts_wrapper';
CREATE FUNCTION cvx.end_ts(t cvx.trajectory) RETURNS timestamptz
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE SUPPORT cvx._trajectory_ends_support
    AS 'MODULE_PATHNAME', 'end_ts_wrapper';
CREATE FUNCTION cvx.duration(t cvx.trajectory) RETURNS interval
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE SUPPORT cvx._trajectory_ends_support
    AS 'MODULE_PATHNAME', 'duration_wrapper';
CREATE FUNCTION cvx.points(t cvx.trajectory) RETURNS TABLE (ts timestamptz, vec vector)
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 100 AS 'MODULE_PATHNAME', 'points_wrapper';
CREATE FUNCTION cvx.slice(t cvx.trajectory, from_ts timestamptz DEFAULT NULL, to_ts timestamptz DEFAULT NULL)
    RETURNS cvx.trajectory
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'slice_wrapper';
CREATE FUNCTION cvx.value_at(t cvx.trajectory, ts timestamptz) RETURNS vector
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'value_at_wrapper';
CREATE FUNCTION cvx.resample(t cvx.trajectory, step interval) RETURNS cvx.trajectory
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'resample_wrapper';
CREATE FUNCTION cvx.append(t cvx.trajectory, ts timestamptz, vec vector) RETURNS cvx.trajectory
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'append_wrapper';
CREATE FUNCTION cvx.trajectory_concat(cvx.trajectory, cvx.trajectory) RETURNS cvx.trajectory
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'trajectory_concat_wrapper';

COMMENT ON FUNCTION cvx.num_points(cvx.trajectory) IS 'number of points';
COMMENT ON FUNCTION cvx.dims(cvx.trajectory) IS 'dimensions of the points; NULL when empty';
COMMENT ON FUNCTION cvx.start_ts(cvx.trajectory) IS 'time of the first point';
COMMENT ON FUNCTION cvx.end_ts(cvx.trajectory) IS 'time of the last point';
COMMENT ON FUNCTION cvx.duration(cvx.trajectory) IS 'time from the first point to the last, in days of 24 hours';
COMMENT ON FUNCTION cvx.points(cvx.trajectory) IS 'the points, a row each, in time order';
COMMENT ON FUNCTION cvx.slice(cvx.trajectory, timestamptz, timestamptz) IS
    'the points from from_ts to to_ts, both included; NULL leaves an end open';
COMMENT ON FUNCTION cvx.value_at(cvx.trajectory, timestamptz) IS
    'linear interpolation at ts; NULL outside the trajectory''s time range';
COMMENT ON FUNCTION cvx.resample(cvx.trajectory, interval) IS
    'linear interpolation at start, start + step, ... up to the end; a day is 24 hours';
COMMENT ON FUNCTION cvx.append(cvx.trajectory, timestamptz, vector) IS 'the trajectory with a later point added';
COMMENT ON FUNCTION cvx.trajectory_concat(cvx.trajectory, cvx.trajectory) IS
    'both trajectories as one; their time ranges must be disjoint';

CREATE OPERATOR cvx.|| (
    LEFTARG = cvx.trajectory, RIGHTARG = cvx.trajectory, FUNCTION = cvx.trajectory_concat,
    COMMUTATOR = OPERATOR(cvx.||)
);
COMMENT ON OPERATOR cvx.|| (cvx.trajectory, cvx.trajectory) IS 'join trajectories of disjoint time ranges';
