-- What a column of vectors holds, in any table.

CREATE FUNCTION cvx._two_spaces(
    query text, alpha float8,
    OUT examined int, OUT mixed bool, OUT statistic float8, OUT threshold float8, OUT share float8,
    OUT since timestamptz)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 1 AS 'MODULE_PATHNAME', 'two_spaces_of_wrapper';
COMMENT ON FUNCTION cvx._two_spaces(text, float8) IS
    'whether the vectors of a query (vec, ts, entity) look like two embedding spaces';

CREATE FUNCTION cvx.space_report(
    "table" regclass,
    vector_column name,
    ts_column name DEFAULT NULL,
    entity_column name DEFAULT NULL,
    sample_rows int DEFAULT 2000,
    alpha float8 DEFAULT 0.01,
    OUT "rows" bigint,
    OUT null_vectors bigint,
    OUT dimensions jsonb,
    OUT min_norm float8,
    OUT mean_norm float8,
    OUT max_norm float8,
    OUT zero_vectors bigint,
    OUT duplicates bigint,
    OUT models jsonb,
    OUT sampled int,
    OUT mixed bool,
    OUT statistic float8,
    OUT threshold float8,
    OUT false_alarm_rate float8,
    OUT second_share float8,
    OUT mixed_since timestamptz)
    RETURNS record
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    source CONSTANT regclass := $1;
    vector_schema name;
    kind text;
    main_dims int;
    vec text;
    key text;
    columns name[];
    wanted name;
BEGIN
    IF source IS NULL OR vector_column IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'null_value_not_allowed',
            MESSAGE = 'space_report needs a table and the name of its vector column',
            HINT = 'For example: SELECT * FROM cvx.space_report(''documents'', ''embedding'').';
    END IF;
    IF sample_rows IS NULL OR sample_rows NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('invalid sample_rows: %s', coalesce(sample_rows::text, 'NULL')),
            HINT = 'Expected 1 to 10000 rows.';
    END IF;
    IF alpha IS NULL OR NOT (alpha > 0 AND alpha < 1) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('invalid alpha: %s', coalesce(alpha::text, 'NULL')),
            HINT = 'Expected a probability between 0 and 1.';
    END IF;
    SELECT n.nspname INTO vector_schema
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector';
    SELECT coalesce(array_agg(a.attname), '{}') INTO columns
    FROM pg_attribute a WHERE a.attrelid = source AND a.attnum > 0 AND NOT a.attisdropped;
    FOREACH wanted IN ARRAY ARRAY[vector_column, ts_column, entity_column] LOOP
        IF wanted IS NOT NULL AND wanted <> ALL (columns) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'undefined_column',
                MESSAGE = format('%s has no column %s', source, to_json(wanted::text)),
                HINT = format('It has: %s.', coalesce(nullif(array_to_string(columns, ', '), ''), 'no columns'));
        END IF;
    END LOOP;
    SELECT format_type(a.atttypid, NULL) INTO kind
    FROM pg_attribute a WHERE a.attrelid = source AND a.attname = vector_column;
    IF (SELECT t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        WHERE a.attrelid = source AND a.attname = vector_column) NOT IN ('vector', 'halfvec')
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'datatype_mismatch',
            MESSAGE = format('column %s of %s is of type %s', to_json(vector_column::text), source, kind),
            HINT = 'space_report reads columns of type vector or halfvec.';
    END IF;
    vec := format('t.%I::%I.vector', vector_column, vector_schema);
    EXECUTE format(
        'SELECT count(*), count(*) - count(%1$s),
                min(%2$I.vector_norm(%1$s)), avg(%2$I.vector_norm(%1$s)), max(%2$I.vector_norm(%1$s)),
                count(*) FILTER (WHERE %2$I.vector_norm(%1$s) = 0),
                count(%1$s) - count(DISTINCT sha256(%2$I.vector_send(%1$s)))
         FROM %3$s t', vec, vector_schema, source)
    INTO "rows", null_vectors, min_norm, mean_norm, max_norm, zero_vectors, duplicates;
    EXECUTE format(
        'SELECT jsonb_object_agg(d.dims, d.n ORDER BY d.n DESC), (array_agg(d.dims ORDER BY d.n DESC, d.dims))[1]
         FROM (SELECT %2$I.vector_dims(%1$s) AS dims, count(*) AS n FROM %3$s t WHERE %1$s IS NOT NULL GROUP BY 1) d',
        vec, vector_schema, source)
    INTO dimensions, main_dims;
    SELECT string_agg(format('nullif(t.%I::text, '''')', c.name), ', ' ORDER BY c.place) INTO key
    FROM unnest(ARRAY['model_version', 'model_hash']::name[]) WITH ORDINALITY c(name, place)
    WHERE c.name = ANY (columns);
    IF key IS NOT NULL AND "rows" > 0 THEN
        EXECUTE format(
            'SELECT jsonb_object_agg(m.model, round(m.n::numeric / %s, 6))
             FROM (SELECT coalesce(nullif(concat_ws(''@'', %s), ''''), ''(none)'') AS model, count(*) AS n
                   FROM %s t GROUP BY 1) m', "rows", key, source)
        INTO models;
    END IF;
    sampled := 0;
    IF main_dims IS NOT NULL THEN
        -- In the order of a hash: rows from anywhere in the table, and the same ones the next time.
        SELECT s.examined, s.mixed, s.statistic, s.threshold, s.share, s.since
        INTO sampled, mixed, statistic, threshold, second_share, mixed_since
        FROM cvx._two_spaces(
            format(
                'SELECT %1$s, %2$s, %3$s FROM %4$s t WHERE %5$I.vector_dims(%1$s) = %6$s
                 ORDER BY sha256(%5$I.vector_send(%1$s)), 2, 3 LIMIT %7$s',
                vec,
                CASE WHEN ts_column IS NULL THEN 'NULL::timestamptz' ELSE format('t.%I::timestamptz', ts_column) END,
                CASE WHEN entity_column IS NULL THEN 'NULL::text' ELSE format('t.%I::text', entity_column) END,
                source, vector_schema, main_dims, sample_rows),
            alpha) s;
        false_alarm_rate := alpha;
    END IF;
END
$$;
COMMENT ON FUNCTION cvx.space_report(regclass, name, name, name, int, float8) IS
    'examines a column of vectors in any table: dimensions, norms, duplicates, recorded models, and whether two '
    'embedding spaces are mixed in it';
