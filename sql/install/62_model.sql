-- Versions of models, the alignment of each to its predecessor, and the guard that keeps one model a space.

CREATE TABLE cvx.model_version (
    model text NOT NULL
        CHECK (pg_catalog.octet_length(model) OPERATOR(pg_catalog.>=) 1
           AND pg_catalog.octet_length(model) OPERATOR(pg_catalog.<=) 255),
    version text NOT NULL
        CHECK (pg_catalog.octet_length(version) OPERATOR(pg_catalog.>=) 1
           AND pg_catalog.octet_length(version) OPERATOR(pg_catalog.<=) 255),
    space_id int UNIQUE,
    predecessor text,
    model_hash text,
    dims int NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (model, version),
    CONSTRAINT model_version_not_its_own_predecessor CHECK (predecessor OPERATOR(pg_catalog.<>) version)
);
CREATE UNIQUE INDEX model_version_first ON cvx.model_version (model) WHERE predecessor IS NULL;
COMMENT ON TABLE cvx.model_version IS
    'versions of embedding models: the space of each, and the version that it follows';
COMMENT ON COLUMN cvx.model_version.space_id IS 'where its embeddings are; NULL when that space was dropped';
COMMENT ON COLUMN cvx.model_version.predecessor IS
    'the version of the same model that it is aligned to; NULL for the first, whose space is the canonical frame';
COMMENT ON COLUMN cvx.model_version.model_hash IS 'hash of the weights';
COMMENT ON COLUMN cvx.model_version.dims IS 'dimensions of its vectors';
COMMENT ON INDEX cvx.model_version_first IS 'a model has one first version';
SELECT pg_catalog.pg_extension_config_dump('cvx.model_version', '');

-- Drawn outside of transactions: no two fits ever share a number, whatever was rolled back.
CREATE SEQUENCE cvx.alignment_revision_seq;
COMMENT ON SEQUENCE cvx.alignment_revision_seq IS 'numbers of fits';
SELECT pg_catalog.pg_extension_config_dump('cvx.alignment_revision_seq', '');

CREATE TABLE cvx.alignment (
    model text NOT NULL,
    version text NOT NULL,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['pending', 'no_overlap', 'low_confidence', 'aligned'])),
    method text,
    min_overlap int,
    overlap_entities int NOT NULL DEFAULT 0,
    pairs int NOT NULL DEFAULT 0,
    pairs_by_input int NOT NULL DEFAULT 0,
    pairs_by_time int NOT NULL DEFAULT 0,
    pairs_by_mean int NOT NULL DEFAULT 0,
    held_out_entities int,
    held_out_pairs int,
    mean_residual float8,
    p95_residual float8,
    p99_residual float8,
    mean_cosine float8,
    recall_at_10 float8,
    scale float8,
    ridge float8,
    correlations float8[],
    rank int,
    error_model float8[],
    forward bytea,
    backward bytea,
    anchors bytea,
    revision bigint NOT NULL DEFAULT pg_catalog.nextval('cvx.alignment_revision_seq'),
    computed_at timestamptz,
    PRIMARY KEY (model, version)
);
-- Floats do not compress, and compressed they would have to be unpacked at every load.
ALTER TABLE cvx.alignment
    ALTER COLUMN forward SET STORAGE EXTERNAL,
    ALTER COLUMN backward SET STORAGE EXTERNAL,
    ALTER COLUMN anchors SET STORAGE EXTERNAL;
COMMENT ON TABLE cvx.alignment IS
    'the map between the space of each model version and that of its predecessor, and how good it is';
COMMENT ON COLUMN cvx.alignment.status IS
    'pending: waits for overlap; no_overlap: none was found; low_confidence: fewer entities than min_overlap; aligned';
COMMENT ON COLUMN cvx.alignment.overlap_entities IS 'entities that both spaces have';
COMMENT ON COLUMN cvx.alignment.pairs IS 'pairs of vectors that it was fitted to';
COMMENT ON COLUMN cvx.alignment.pairs_by_input IS 'of them: same entity and input_hash';
COMMENT ON COLUMN cvx.alignment.pairs_by_time IS 'of them: same entity and ts';
COMMENT ON COLUMN cvx.alignment.pairs_by_mean IS 'of them: means of an entity over the time that both spaces have it';
COMMENT ON COLUMN cvx.alignment.mean_residual IS 'of held-out pairs: L2 distance of the projected vector to the true one';
COMMENT ON COLUMN cvx.alignment.mean_cosine IS 'of held-out pairs: cosine of the projected vector and the true one';
COMMENT ON COLUMN cvx.alignment.recall_at_10 IS
    'of held-out vectors: share of the 10 nearest in the new space that are among the 10 nearest of the projection in the old';
COMMENT ON COLUMN cvx.alignment.scale IS 'scale of a procrustes map';
COMMENT ON COLUMN cvx.alignment.ridge IS 'penalty of an affine map';
COMMENT ON COLUMN cvx.alignment.correlations IS 'canonical correlations of a cca map, largest first';
COMMENT ON COLUMN cvx.alignment.rank IS 'directions of the new space in which the pairs vary';
COMMENT ON COLUMN cvx.alignment.error_model IS 'variances of the held-out residuals, between and within entities';
COMMENT ON COLUMN cvx.alignment.forward IS 'the map onto the predecessor''s space; cvx.alignment_map shows it';
COMMENT ON COLUMN cvx.alignment.backward IS 'the map from the predecessor''s space';
COMMENT ON COLUMN cvx.alignment.anchors IS 'held-out vectors and their residuals';
COMMENT ON COLUMN cvx.alignment.revision IS 'number of the fit: another one is another map';
SELECT pg_catalog.pg_extension_config_dump('cvx.alignment', '');

-- Foreign keys would stand in the way of a restore: pg_restore -j fills the tables of an extension in any order, and
-- pg_dump warns of a table that refers to itself. The scripts of both switch off the check of function bodies.
CREATE FUNCTION cvx._check_versions() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    of_model text;
    orphan text;
    missing text;
BEGIN
    IF current_setting('check_function_bodies') = 'off' THEN
        RETURN NULL;
    END IF;
    IF tg_op = 'DELETE' THEN
        DELETE FROM cvx.alignment a
        WHERE NOT EXISTS (SELECT FROM cvx.model_version v WHERE v.model = a.model AND v.version = a.version);
    END IF;
    SELECT v.model, v.version, v.predecessor INTO of_model, orphan, missing FROM cvx.model_version v
    WHERE v.predecessor IS NOT NULL
      AND NOT EXISTS (SELECT FROM cvx.model_version p WHERE p.model = v.model AND p.version = v.predecessor)
    ORDER BY v.model, v.version LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'foreign_key_violation',
            MESSAGE = format('version %s of model %s would have no predecessor: there is no version %s',
                to_json(orphan), to_json(of_model), to_json(missing)),
            HINT = 'cvx.create_model and cvx.drop_model keep the versions of a model together.';
    END IF;
    SELECT a.model, a.version INTO of_model, orphan FROM cvx.alignment a
    WHERE NOT EXISTS (SELECT FROM cvx.model_version v WHERE v.model = a.model AND v.version = a.version)
    ORDER BY a.model, a.version LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'foreign_key_violation',
            MESSAGE = format('there would be an alignment without its version: model %s, version %s',
                to_json(of_model), to_json(orphan)),
            HINT = 'cvx.create_model and cvx.drop_model keep them together.';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION cvx._check_versions() IS
    'refuses a version without its predecessor and an alignment without its version; drops the alignments of dropped versions';
CREATE TRIGGER versions AFTER INSERT OR DELETE OR UPDATE OF model, version, predecessor ON cvx.model_version
    FOR EACH STATEMENT EXECUTE FUNCTION cvx._check_versions();
CREATE TRIGGER versions AFTER INSERT OR UPDATE OF model, version ON cvx.alignment
    FOR EACH STATEMENT EXECUTE FUNCTION cvx._check_versions();

-- Any writer's row is checked against the registration, whether or not the writer may read that table.
CREATE FUNCTION cvx._registered_model(space_id int, OUT version text, OUT model_hash text)
    LANGUAGE sql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT v.version, v.model_hash FROM cvx.model_version v WHERE v.space_id = _registered_model.space_id
$$;
COMMENT ON FUNCTION cvx._registered_model(int) IS 'the model version registered for a space, for its check';

CREATE FUNCTION cvx._check_model(space_id int, model_version text, model_hash text) RETURNS bool
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'check_model_wrapper';
COMMENT ON FUNCTION cvx._check_model(int, text, text) IS
    'true for a row that names no other model than the one registered for its space; else as cvx.model_mismatch says';

CREATE FUNCTION cvx.create_model(
    INOUT model text,
    INOUT version text,
    space text,
    predecessor text DEFAULT NULL,
    model_hash text DEFAULT NULL,
    auto_align bool DEFAULT true,
    OUT alignment_status text,
    OUT overlap_entities int)
    RETURNS record
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    new_model CONSTANT text := $1;
    new_version CONSTANT text := $2;
    of_space cvx.space;
    before cvx.model_version;
    taken cvx.model_version;
BEGIN
    IF new_model IS NULL OR new_version IS NULL OR $3 IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'null_value_not_allowed',
            MESSAGE = 'a model version needs a model, a version and a space',
            HINT = 'For example: SELECT * FROM cvx.create_model(''bert'', ''v2'', ''bert-v2'', predecessor => ''v1'').';
    END IF;
    IF octet_length(new_model) NOT BETWEEN 1 AND 255 OR octet_length(new_version) NOT BETWEEN 1 AND 255 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_name',
            MESSAGE = 'the names of a model and its version have 1 to 255 bytes';
    END IF;
    SELECT * INTO of_space FROM cvx.space s WHERE s.space_id = cvx.space_id($3) FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'undefined_object',
            MESSAGE = format('space %s does not exist', to_json($3)),
            HINT = 'It was dropped just now.';
    END IF;
    SELECT * INTO taken FROM cvx.model_version v WHERE v.space_id = of_space.space_id;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_object',
            MESSAGE = format('space %s is already that of model %s, version %s',
                to_json(of_space.name), to_json(taken.model), to_json(taken.version)),
            HINT = 'Each version of a model has a space of its own: cvx.create_space(name, dims) makes one.';
    END IF;
    IF EXISTS (SELECT FROM cvx.model_version v WHERE v.model = new_model AND v.version = new_version) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'duplicate_object',
            MESSAGE = format('model %s already has a version %s', to_json(new_model), to_json(new_version)),
            HINT = 'cvx.drop_model(model, version) forgets it.';
    END IF;
    IF $4 = new_version THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('version %s cannot be its own predecessor', to_json(new_version)),
            HINT = 'Predecessors lead back to the first version; leave predecessor out for that one.';
    END IF;
    IF $4 IS NULL THEN
        SELECT * INTO before FROM cvx.model_version v WHERE v.model = new_model ORDER BY v.registered_at DESC LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION USING
                ERRCODE = 'invalid_parameter_value',
                MESSAGE = format('model %s has a first version already; version %s needs a predecessor',
                    to_json(new_model), to_json(new_version)),
                HINT = format('For example: predecessor => %L.', before.version);
        END IF;
    ELSE
        SELECT * INTO before FROM cvx.model_version v
        WHERE v.model = new_model AND v.version = $4 FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING
                ERRCODE = 'undefined_object',
                MESSAGE = format('model %s has no version %s to be the predecessor', to_json(new_model), to_json($4)),
                HINT = 'SELECT model, version FROM cvx.model_version lists the versions.';
        END IF;
    END IF;
    INSERT INTO cvx.model_version (model, version, space_id, predecessor, model_hash, dims)
    VALUES (new_model, new_version, of_space.space_id, $4, $5, of_space.dims);
    overlap_entities := 0;
    alignment_status := 'canonical';
    IF $4 IS NOT NULL THEN
        INSERT INTO cvx.alignment (model, version) VALUES (new_model, new_version);
        alignment_status := 'pending';
        -- A predecessor whose space is gone, or a space too wide to align, is registered all the same.
        IF $6 AND before.space_id IS NOT NULL AND greatest(of_space.dims, before.dims) <= cvx._max_align_dims() THEN
            BEGIN
                alignment_status := cvx._align(new_model, new_version,
                    CASE WHEN before.dims = of_space.dims THEN 'procrustes' ELSE 'affine' END, 100);
            EXCEPTION WHEN data_exception THEN
                -- Overlap that determines no map, such as one pair, waits for more of it.
                RAISE NOTICE USING MESSAGE = sqlerrm,
                    HINT = format('When both have more, SELECT * FROM cvx.align(%L, %L).', new_model, new_version);
            END;
            IF create_model.alignment_status = 'no_overlap' THEN
                alignment_status := 'pending';
                UPDATE cvx.alignment a SET status = 'pending' WHERE a.model = new_model AND a.version = new_version;
            END IF;
            SELECT a.overlap_entities INTO overlap_entities
            FROM cvx.alignment a WHERE a.model = new_model AND a.version = new_version;
        END IF;
    END IF;
END
$$;
COMMENT ON FUNCTION cvx.create_model(text, text, text, text, text, bool) IS
    'registers a version of a model as the maker of a space, and aligns it to its predecessor when both share entities';

CREATE FUNCTION cvx.drop_model(model text, version text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    successor text;
BEGIN
    IF drop_model.model IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'null_value_not_allowed',
            MESSAGE = 'drop_model needs the name of a model';
    END IF;
    IF drop_model.version IS NOT NULL THEN
        -- Versions that are just being made to follow it hold a lock on it.
        PERFORM FROM cvx.model_version v
        WHERE v.model = drop_model.model AND v.version = drop_model.version FOR UPDATE;
        SELECT v.version INTO successor FROM cvx.model_version v
        WHERE v.model = drop_model.model AND v.predecessor = drop_model.version ORDER BY v.version LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION USING
                ERRCODE = 'dependent_objects_still_exist',
                MESSAGE = format('version %s of model %s is the predecessor of version %s',
                    to_json(drop_model.version), to_json(drop_model.model), to_json(successor)),
                HINT = 'Drop the later versions first, or the whole model with cvx.drop_model(model).';
        END IF;
    END IF;
    DELETE FROM cvx.model_version v
    WHERE v.model = drop_model.model AND (drop_model.version IS NULL OR v.version = drop_model.version);
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'undefined_object',
            MESSAGE = CASE WHEN drop_model.version IS NULL
                THEN format('model %s does not exist', to_json(drop_model.model))
                ELSE format('model %s has no version %s', to_json(drop_model.model), to_json(drop_model.version)) END,
            HINT = 'SELECT model, version FROM cvx.model_version lists the versions.';
    END IF;
END
$$;
COMMENT ON FUNCTION cvx.drop_model(text, text) IS
    'forgets a version of a model, or all of them, with their alignments; spaces and embeddings stay';
