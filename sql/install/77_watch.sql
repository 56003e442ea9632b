-- Watching what views read: the triggers by which every change of it is logged, whichever relation a statement names.

-- Monitors that follow change points read the same log as views do: to what keeps it they are views with negative ids.
CREATE TABLE cvx.monitor_reader (
    view_id int PRIMARY KEY CHECK (view_id OPERATOR(pg_catalog.<) 0),
    space_id int REFERENCES cvx.space ON DELETE CASCADE,
    model text,
    tracked_id int CHECK (tracked_id IS NULL),
    entity_filter jsonb,
    CONSTRAINT reader_reads_one_thing CHECK (pg_catalog.num_nonnulls(space_id, model) OPERATOR(pg_catalog.=) 1)
);
COMMENT ON TABLE cvx.monitor_reader IS 'what monitors of change points follow, as cvx.view has it for views';
COMMENT ON COLUMN cvx.monitor_reader.view_id IS 'minus the id of the monitor';
COMMENT ON COLUMN cvx.monitor_reader.tracked_id IS 'monitors follow spaces and models only';
SELECT pg_catalog.pg_extension_config_dump('cvx.monitor_reader', '');

CREATE VIEW cvx._log_reader AS
    SELECT v.view_id, v.type, v.space_id, v.model, v.tracked_id, v.entity_filter, v.config FROM cvx.view v
    UNION ALL
    SELECT r.view_id, 'detector', r.space_id, r.model, r.tracked_id, r.entity_filter, '{}' FROM cvx.monitor_reader r;
COMMENT ON VIEW cvx._log_reader IS 'whoever reads the log of changes: views, and monitors of change points under negative ids';

CREATE FUNCTION cvx._view_sources() RETURNS TABLE (view_id int, source int)
    LANGUAGE sql STABLE PARALLEL SAFE ROWS 20
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT v.view_id, coalesce(v.space_id, m.space_id, -v.tracked_id)
    FROM cvx._log_reader v LEFT JOIN cvx.model_version m ON m.model = v.model
    WHERE coalesce(v.space_id, m.space_id, -v.tracked_id) IS NOT NULL
$$;
COMMENT ON FUNCTION cvx._view_sources() IS
    'the sources of each reader of the log, as cvx.invalidation numbers them; a model has one for each version';

CREATE FUNCTION cvx._watched(source int) RETURNS TABLE (relation oid, entity_column name, ts_column name)
    LANGUAGE sql STABLE STRICT PARALLEL SAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (SELECT i.inhrelid FROM pg_inherits i
            WHERE i.inhrelid = to_regclass(format('cvx_space.%I', s.name)) AND i.inhparent = 'cvx.embedding'::regclass),
           'entity_id', 'ts'
    FROM cvx.space s WHERE s.space_id = _watched.source
    UNION ALL
    SELECT t.relation, t.entity_column, t.ts_column FROM cvx.tracked_table t WHERE t.tracked_id = -_watched.source
$$;
COMMENT ON FUNCTION cvx._watched(int) IS
    'the relation of a source, NULL when a space has no partition, and its columns';

-- A statement that names a parent fires the parent's triggers only, one that names a child only the child's.
CREATE FUNCTION cvx._family(relation oid)
    RETURNS TABLE (member oid, is_above bool, depth int, relkind "char", relpersistence "char")
    LANGUAGE sql STABLE STRICT PARALLEL SAFE ROWS 10
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE up(member, depth) AS (
        SELECT i.inhparent, -1 FROM pg_inherits i WHERE i.inhrelid = _family.relation AND NOT i.inhdetachpending
        UNION
        SELECT i.inhparent, u.depth - 1 FROM up u JOIN pg_inherits i ON i.inhrelid = u.member AND NOT i.inhdetachpending
    ), down(member, depth) AS (
        SELECT _family.relation, 0
        UNION
        SELECT i.inhrelid, d.depth + 1
        FROM down d JOIN pg_inherits i ON i.inhparent = d.member AND NOT i.inhdetachpending
    )
    SELECT c.oid, f.depth < 0, f.depth, c.relkind, c.relpersistence
    FROM (SELECT u.member, min(u.depth) FROM up u GROUP BY 1
          UNION ALL SELECT d.member, max(d.depth) FROM down d GROUP BY 1) f(member, depth)
    JOIN pg_class c ON c.oid = f.member
$$;
COMMENT ON FUNCTION cvx._family(oid) IS
    'a relation, its partitions or children at every level, and what it is itself part of';

CREATE FUNCTION cvx._watch_suffix(source int) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN _watch_suffix.source < 0 THEN 'm' || -_watch_suffix.source ELSE _watch_suffix.source::text END
$$;
COMMENT ON FUNCTION cvx._watch_suffix(int) IS 'how the names of a source''s triggers end';

-- Statement triggers see all that is written here; the row trigger sees what logical replication applies, and TRUNCATE
-- is seen both ways.
CREATE FUNCTION cvx._wanted_triggers(source int, root oid, entity_column name, ts_column name)
    RETURNS TABLE (relation oid, is_above bool, depth int, name name, enabled "char", arguments bytea, command text)
    LANGUAGE sql STABLE STRICT PARALLEL SAFE ROWS 20
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT f.member, f.is_above, f.depth, t.name, e.enabled,
           (SELECT string_agg(convert_to(a, getdatabaseencoding()) || '\x00'::bytea, ''::bytea ORDER BY i)
            FROM unnest(k.arguments) WITH ORDINALITY u(a, i)),
           format('CREATE OR REPLACE TRIGGER %I AFTER %s ON %s %s FOR EACH %s EXECUTE FUNCTION cvx._invalidate(%s)',
               t.name, e.events, f.member::regclass, e.tables, e.scope,
               (SELECT string_agg(quote_literal(a), ', ' ORDER BY i) FROM unnest(k.arguments) WITH ORDINALITY u(a, i)))
    FROM cvx._family(root) f
    CROSS JOIN (VALUES
        ('insert', 'INSERT', 'REFERENCING NEW TABLE AS cvx_new', 'STATEMENT', 'O'::"char"),
        ('update', 'UPDATE', 'REFERENCING OLD TABLE AS cvx_old NEW TABLE AS cvx_new', 'STATEMENT', 'O'),
        ('delete', 'DELETE', 'REFERENCING OLD TABLE AS cvx_old', 'STATEMENT', 'O'),
        ('truncate', 'TRUNCATE', '', 'STATEMENT', 'A'),
        ('row', 'INSERT OR UPDATE OR DELETE', '', 'ROW', 'R')) e(event, events, tables, scope, enabled)
    CROSS JOIN LATERAL (SELECT CASE WHEN f.member = 'cvx.embedding'::regclass THEN ARRAY['0']
        ELSE ARRAY[_wanted_triggers.source::text, entity_column, ts_column] END) k(arguments)
    CROSS JOIN LATERAL (SELECT format('cvx_invalidate_%s_%s', e.event,
        CASE WHEN f.member = 'cvx.embedding'::regclass THEN '0'
             ELSE cvx._watch_suffix(_wanted_triggers.source) END)::name) t(name)
    WHERE CASE e.event
          WHEN 'row' THEN f.relkind = 'r' AND NOT f.is_above
          WHEN 'truncate' THEN NOT f.is_above
          WHEN 'insert' THEN NOT f.is_above OR f.relkind = 'p'
          ELSE true END
$$;
COMMENT ON FUNCTION cvx._wanted_triggers(int, oid, name, name) IS
    'the triggers by which no change of a source goes unseen, and the statements that make them';

CREATE FUNCTION cvx._own_triggers(source int) RETURNS TABLE (relation oid, name name, enabled "char", arguments bytea)
    LANGUAGE sql STABLE STRICT PARALLEL SAFE ROWS 20
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.tgrelid, t.tgname, t.tgenabled, t.tgargs
    FROM pg_depend d JOIN pg_trigger t ON t.oid = d.objid
    WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = 'cvx._invalidate()'::regprocedure
      AND d.classid = 'pg_trigger'::regclass AND NOT t.tgisinternal
      AND t.tgname IN (SELECT 'cvx_invalidate_' || e || '_' || cvx._watch_suffix(_own_triggers.source)
                       FROM unnest('{insert,update,delete,truncate,row}'::text[]) e)
$$;
COMMENT ON FUNCTION cvx._own_triggers(int) IS
    'the triggers of a source that there are; of source 0: those on cvx.embedding';

-- Event triggers pass over what comes from here.
CREATE FUNCTION cvx._watch_execute(command text) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE command;
END
$$;
COMMENT ON FUNCTION cvx._watch_execute(text) IS 'runs DDL of cvx on what is watched';

CREATE FUNCTION cvx._watch_obstacle(
    source int, root oid, entity_column name, ts_column name, OUT problem text, OUT hint text) RETURNS record
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part record;
BEGIN
    SELECT f.* INTO part FROM cvx._family(root) f
    WHERE f.relkind NOT IN ('r', 'p') OR f.relpersistence <> 'p' ORDER BY f.depth, f.member LIMIT 1;
    IF FOUND THEN
        problem := format('%s is %s', part.member::regclass,
            CASE WHEN part.relkind = 'f' THEN 'a foreign table' WHEN part.relkind NOT IN ('r', 'p') THEN 'not a table'
                 WHEN part.relpersistence = 't' THEN 'a temporary table' ELSE 'an unlogged table' END);
        hint := CASE WHEN part.relpersistence = 'u' AND part.relkind IN ('r', 'p')
            THEN 'A crash empties it unseen: ALTER TABLE ... SET LOGGED.'
            ELSE 'Changes of permanent tables alone can be followed.' END;
        RETURN;
    END IF;
    SELECT f.member, c.name INTO part
    FROM cvx._family(root) f CROSS JOIN (VALUES (entity_column), (ts_column)) c(name)
    WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = f.member AND a.attname = c.name AND a.attnum > 0
                        AND NOT a.attisdropped AND a.attgenerated IN ('', 's'))
    ORDER BY f.depth, f.member LIMIT 1;
    IF FOUND THEN
        problem := format('%s has no stored column %I', part.member::regclass, part.name);
        hint := 'Rows of a table can be changed through every table that it inherits from.';
        RETURN;
    END IF;
    IF source < 0 THEN
        SELECT f.member INTO part FROM cvx._family(root) f JOIN pg_depend d ON d.classid = 'pg_class'::regclass
            AND d.objid = f.member AND d.deptype = 'e' ORDER BY f.depth, f.member LIMIT 1;
        IF FOUND THEN
            problem := format('%s belongs to an extension', part.member::regclass);
            hint := 'A dump of the database would not bring back the triggers on it.';
        END IF;
    END IF;
END
$$;
COMMENT ON FUNCTION cvx._watch_obstacle(int, oid, name, name) IS
    'why the changes of a relation cannot be followed; NULL: they can';

-- A cohort's query reads tables beside the source, whose every change concerns the whole view.
CREATE FUNCTION cvx._query_gap(view_id int) RETURNS text
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE reads(oid) AS (
        SELECT to_regclass(format('cvx_view_definition.%I', v.name))::oid
        FROM cvx.view v WHERE v.view_id = _query_gap.view_id AND v.config ? 'query'
        UNION
        SELECT d.refobjid FROM reads r JOIN pg_rewrite w ON w.ev_class = r.oid
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
         AND d.refclassid = 'pg_class'::regclass
    ), tables AS (
        SELECT c.oid, EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid OR i.inhrelid = c.oid)
                      OR c.relpersistence <> 'p' AS is_blind
        FROM reads r JOIN pg_class c ON c.oid = r.oid
        WHERE c.relkind IN ('r', 'p')
          AND NOT EXISTS (SELECT FROM cvx.view v JOIN cvx.tracked_table t ON t.tracked_id = v.tracked_id
                          WHERE v.view_id = _query_gap.view_id AND t.relation = c.oid)
          AND NOT EXISTS (SELECT FROM pg_depend e
                          WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
    )
    SELECT CASE WHEN s.is_blind THEN format('%s is unlogged, or has partitions, children or parents', s.oid::regclass)
                ELSE format('trigger %I on %s is missing or disabled', w.name, s.oid::regclass) END
    FROM tables s
    CROSS JOIN (VALUES ('cvx_invalidate_all_' || _query_gap.view_id, 'A'::"char"),
                       ('cvx_invalidate_all_row_' || _query_gap.view_id, 'R')) w(name, enabled)
    WHERE s.is_blind
       OR NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = s.oid AND t.tgname = w.name
                        AND t.tgfoid = 'cvx._invalidate_all()'::regprocedure AND t.tgenabled IN (w.enabled, 'A'))
    ORDER BY s.oid, w.name LIMIT 1
$$;
COMMENT ON FUNCTION cvx._query_gap(int) IS
    'by which table of a view''s query a change could go unseen; NULL: by none';

CREATE FUNCTION cvx._watch_gap(source int) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    of_source record;
    gap text;
BEGIN
    SELECT * INTO of_source FROM cvx._watched(source);
    IF of_source.relation IS NULL THEN
        RETURN format('source %s has no table', source);
    END IF;
    SELECT o.problem INTO gap
    FROM cvx._watch_obstacle(source, of_source.relation, of_source.entity_column, of_source.ts_column) o;
    IF gap IS NULL THEN
        SELECT format('trigger %I on %s is %s', w.name, w.relation::regclass,
                   CASE WHEN t.oid IS NULL THEN 'missing' WHEN t.tgargs <> w.arguments THEN 'made for other columns'
                        ELSE 'disabled' END)
        INTO gap
        FROM cvx._wanted_triggers(source, of_source.relation, of_source.entity_column, of_source.ts_column) w
        LEFT JOIN pg_trigger t ON t.tgrelid = w.relation AND t.tgname = w.name
            AND t.tgfoid = 'cvx._invalidate()'::regprocedure
        WHERE t.oid IS NULL OR t.tgargs <> w.arguments OR t.tgenabled NOT IN (w.enabled, 'A')
        ORDER BY w.depth, w.relation, w.name LIMIT 1;
    END IF;
    RETURN gap;
END
$$;
COMMENT ON FUNCTION cvx._watch_gap(int) IS 'where changes of a source could go unseen; NULL: nowhere';

CREATE FUNCTION cvx._set_trigger(relation oid, name name, enabled "char") RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cvx._watch_execute(format('ALTER TABLE ONLY %s %s TRIGGER %I', relation::regclass,
        CASE enabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' WHEN 'A' THEN 'ENABLE ALWAYS'
             ELSE 'ENABLE' END, name))
    WHERE EXISTS (SELECT FROM pg_trigger t
                  WHERE t.tgrelid = relation AND t.tgname = _set_trigger.name AND t.tgenabled <> enabled);
END
$$;
COMMENT ON FUNCTION cvx._set_trigger(oid, name, "char") IS 'enables or disables a trigger, unless it is so';

-- `force` also makes triggers that somebody dropped, and enables those that somebody disabled.
CREATE FUNCTION cvx._make_triggers(source int, force bool) RETURNS SETOF oid
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE ROWS 5
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT w.*
        FROM (SELECT w.*, t.oid AS present, t.tgenabled, t.tgargs,
                     bool_and(t.oid IS NULL) OVER (PARTITION BY w.relation) AS is_new
              FROM cvx._watched(source) s
              CROSS JOIN cvx._wanted_triggers(source, s.relation, s.entity_column, s.ts_column) w
              LEFT JOIN pg_trigger t ON t.tgrelid = w.relation AND t.tgname = w.name
                  AND t.tgfoid = 'cvx._invalidate()'::regprocedure) w
        WHERE w.present IS NULL OR w.tgargs <> w.arguments OR w.tgenabled <> w.enabled
        ORDER BY w.depth, w.relation, w.name
    LOOP
        CONTINUE WHEN wanted.present IS NULL AND NOT (force OR wanted.is_new);
        IF wanted.present IS NULL OR wanted.tgargs <> wanted.arguments THEN
            PERFORM cvx._watch_execute(wanted.command);
        END IF;
        IF wanted.is_new THEN
            RETURN QUERY SELECT wanted.relation;
        END IF;
        -- ENABLE TRIGGER ALL makes all of them fire where statements are written. What else is as somebody wanted it.
        PERFORM cvx._set_trigger(wanted.relation, wanted.name,
            CASE WHEN wanted.present IS NULL OR force OR wanted.tgenabled = 'O' THEN wanted.enabled
                 ELSE wanted.tgenabled END);
    END LOOP;
END
$$;
COMMENT ON FUNCTION cvx._make_triggers(int, bool) IS
    'makes the triggers that a source lacks; returns the relations that had none';

CREATE FUNCTION cvx._mark_rows(source int, relation oid, entity_column name) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- As the type writes them, which calls nothing that a user could have put there.
    EXECUTE format('INSERT INTO cvx.invalidation (source, entity_id, dirty_at)
        SELECT DISTINCT $1, format(''%%s'', t.%1$I) COLLATE "C", clock_timestamp()
        FROM ONLY %2$s t WHERE t.%1$I IS NOT NULL',
        entity_column, relation::regclass) USING source;
END
$$;
COMMENT ON FUNCTION cvx._mark_rows(int, oid, name) IS
    'marks the entities of a table that comes to a source or leaves it';

CREATE FUNCTION cvx._mark_source(source int) RETURNS void
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO cvx.invalidation (source, dirty_at) VALUES (_mark_source.source, clock_timestamp())
$$;
COMMENT ON FUNCTION cvx._mark_source(int) IS 'marks all entities of a source';

-- Two locks that exclude each other and DDL, and no reader or writer; parents first, as statements take theirs.
CREATE FUNCTION cvx._watch_lock(root oid, mode text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    member oid;
BEGIN
    FOR member IN SELECT f.member FROM cvx._family(root) f WHERE f.depth <= 0 ORDER BY f.depth, f.member LOOP
        EXECUTE format('LOCK TABLE ONLY %s IN %s MODE', member::regclass, mode);
    END LOOP;
END
$$;
COMMENT ON FUNCTION cvx._watch_lock(oid, text) IS 'locks a relation and what it is part of, not its own partitions';

CREATE FUNCTION cvx._watch(relation regclass, source int, entity_column name, ts_column name) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    obstacle record;
    above oid;
BEGIN
    SELECT * INTO obstacle FROM cvx._watch_obstacle(source, relation, entity_column, ts_column);
    IF obstacle.problem IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'feature_not_supported',
            MESSAGE = format('the changes of %s cannot be followed: %s', relation, obstacle.problem),
            HINT = obstacle.hint;
    END IF;
    -- Whoever drops the last other view of this source may be about to take its triggers away.
    PERFORM cvx._watch_lock(relation, 'SHARE UPDATE EXCLUSIVE');
    IF cvx._watch_gap(source) IS NOT NULL THEN
        -- Writers whose statements began without the triggers end before anything is read. Writers lock parents first.
        FOR above IN
            SELECT w.relation FROM cvx._wanted_triggers(source, _watch.relation, entity_column, ts_column) w
            WHERE w.is_above
              AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = w.relation AND t.tgname = w.name
                                AND t.tgargs = w.arguments AND t.tgenabled IN (w.enabled, 'A'))
            GROUP BY w.relation ORDER BY min(w.depth), w.relation
        LOOP
            EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', above::regclass);
        END LOOP;
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', relation);
        PERFORM cvx._make_triggers(source, true);
    END IF;
END
$$;
COMMENT ON FUNCTION cvx._watch(regclass, int, name, name) IS
    'has every change of a relation logged as one of this source; an error when that cannot be';

CREATE FUNCTION cvx._unwatch(source int) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    lost record;
BEGIN
    PERFORM cvx._watch_lock(w.relation, 'SHARE UPDATE EXCLUSIVE') FROM cvx._watched(source) w;
    IF EXISTS (SELECT FROM cvx._view_sources() s WHERE s.source = _unwatch.source) THEN
        RETURN;
    END IF;
    FOR lost IN
        SELECT o.relation, o.name FROM cvx._own_triggers(0) o
        WHERE NOT EXISTS (SELECT FROM cvx._view_sources() s WHERE s.source > 0)
        ORDER BY o.name
    LOOP
        PERFORM cvx._watch_execute(format('DROP TRIGGER %I ON %s', lost.name, lost.relation::regclass));
    END LOOP;
    FOR lost IN
        SELECT o.relation, o.name FROM cvx._own_triggers(source) o
        LEFT JOIN (cvx._watched(source) w CROSS JOIN LATERAL cvx._family(w.relation) f) ON f.member = o.relation
        ORDER BY f.depth, o.relation, o.name
    LOOP
        PERFORM cvx._watch_execute(format('DROP TRIGGER %I ON %s', lost.name, lost.relation::regclass));
    END LOOP;
    DELETE FROM cvx.invalidation l WHERE l.source = _unwatch.source;
END
$$;
COMMENT ON FUNCTION cvx._unwatch(int) IS 'takes the triggers of a source away, unless a view still reads it';

REVOKE ALL ON FUNCTION
    cvx._watch_execute(text),
    cvx._set_trigger(oid, name, "char"),
    cvx._make_triggers(int, bool),
    cvx._mark_rows(int, oid, name),
    cvx._mark_source(int),
    cvx._watch_lock(oid, text),
    cvx._watch(regclass, int, name, name),
    cvx._unwatch(int)
FROM PUBLIC;
