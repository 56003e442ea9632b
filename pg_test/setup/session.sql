-- What every regression file starts with: \i it after "\set ECHO none".
-- pg_regress sets its own zone and DateStyle for the database.
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
SET search_path = public, cvx;

-- Runs a statement and shows the error it must raise, with its SQLSTATE: psql alone does not print one.
CREATE PROCEDURE pg_temp.raises(statement text) LANGUAGE plpgsql AS $$
DECLARE
    state text; message text; detail text; hint text;
BEGIN
    BEGIN
        EXECUTE statement;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
            detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
        -- Ids and the time of the run are not the same twice.
        detail := regexp_replace(regexp_replace(detail, '^(Failing row contains).*', '\1 ...'), '=\(\d+, ', '=(?, ');
        RAISE NOTICE '% %', state, message
            || coalesce(E'\nDETAIL:  ' || nullif(detail, ''), '') || coalesce(E'\nHINT:  ' || nullif(hint, ''), '');
        RETURN;
    END;
    RAISE NOTICE 'no error: %', statement;
END
$$;

-- Six decimals: what differs beyond them differs between machines.
CREATE FUNCTION pg_temp.r6(x float8) RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN x IS NULL THEN NULL WHEN abs(x) IN ('infinity', 'nan') THEN x::text
                ELSE (round(x::numeric, 6) + 0)::text END
$$;
CREATE FUNCTION pg_temp.r6(v vector) RETURNS text LANGUAGE sql AS $$
    SELECT '[' || string_agg(pg_temp.r6(x::float8), ',' ORDER BY i) || ']'
    FROM unnest(v::real[]) WITH ORDINALITY u(x, i)
$$;
-- Whether the plan of a query holds each of these texts: whole plans differ between versions of PostgreSQL.
CREATE FUNCTION pg_temp.plan_has(query text, VARIADIC parts text[]) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    line text; plan text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (VERBOSE, COSTS OFF) ' || query LOOP plan := plan || line || E'\n'; END LOOP;
    RETURN (SELECT bool_and(position(part IN plan) > 0) FROM unnest(parts) part);
END
$$;
