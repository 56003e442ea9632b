-- What views held at a time, and training sets made of that.

CREATE FUNCTION cvx.features_as_of(
    view text, entity_id text, as_of timestamptz, known_at timestamptz DEFAULT NULL) RETURNS jsonb
    LANGUAGE c STABLE PARALLEL SAFE COST 100 AS 'MODULE_PATHNAME', 'features_as_of_wrapper';
COMMENT ON FUNCTION cvx.features_as_of(text, text, timestamptz, timestamptz) IS
    'what a view with history held of an entity at a time, by what is known now or was known at known_at; NULL when '
    'there was nothing, or when it had expired by then (ttl); stale_since: from when on changes may be missing';

CREATE TABLE cvx.training_set (
    name text PRIMARY KEY,
    spine text NOT NULL,
    views jsonb NOT NULL,
    bitemporal bool NOT NULL,
    rows bigint NOT NULL,
    owner name NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE cvx.training_set IS 'training sets, and what they were made of';
COMMENT ON COLUMN cvx.training_set.name IS 'also the name of the table in schema cvx_training';
COMMENT ON COLUMN cvx.training_set.spine IS 'the relation whose rows it has, as it was called';
COMMENT ON COLUMN cvx.training_set.views IS 'the views whose features it has, as they were defined';
COMMENT ON COLUMN cvx.training_set.bitemporal IS
    'whether it has what was known at the time, not only what had happened';
COMMENT ON COLUMN cvx.training_set.owner IS 'who made it';
SELECT pg_catalog.pg_extension_config_dump('cvx.training_set', '');

CREATE FUNCTION cvx.create_training_set(
    name text, spine regclass, views text[], bitemporal bool DEFAULT false) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'create_training_set_wrapper';
COMMENT ON FUNCTION cvx.create_training_set(text, regclass, text[], bool) IS
    'makes the table cvx_training.<name>: the rows of spine (entity_id, ts and whatever else), each with the features '
    'that the views held of its entity at its ts, and with bitemporal what was known of them then; returns the number '
    'of rows';

CREATE FUNCTION cvx.drop_training_set(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'drop_training_set_wrapper';
COMMENT ON FUNCTION cvx.drop_training_set(text) IS 'drops a training set and forgets what it was made of';
