-- What changes the tables that views read other than by rows: partitions that come and go, triggers that are disabled
-- or dropped, columns that are renamed, and the rows in which views, models and alignments are kept.

-- The triggers of restored views come after their rows: until then the views are untracked, and as they were.
CREATE FUNCTION cvx._restoring() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'being restored'
$$;
COMMENT ON FUNCTION cvx._restoring() IS 'why restored views are untracked at first';

-- pg_dump's scripts switch this check off.
CREATE FUNCTION cvx._is_restore() RETURNS bool
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT current_setting('check_function_bodies') = 'off'
$$;
COMMENT ON FUNCTION cvx._is_restore() IS 'whether this looks like the session of a restore';

CREATE FUNCTION cvx._view_gaps(view_ids int[]) RETURNS TABLE (view_id int, gap text)
    LANGUAGE sql STABLE STRICT PARALLEL SAFE ROWS 20
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH reads AS MATERIALIZED (
        SELECT s.view_id, s.source FROM cvx._view_sources() s WHERE s.view_id = ANY (view_ids)
    ), gaps AS MATERIALIZED (
        SELECT s.source, cvx._watch_gap(s.source) AS gap FROM (SELECT DISTINCT r.source FROM reads r) s
    )
    SELECT v.view_id,
           coalesce((SELECT min(g.gap) FROM reads r JOIN gaps g ON g.source = r.source WHERE r.view_id = v.view_id),
                    CASE WHEN v.config ? 'query' THEN cvx._query_gap(v.view_id) END)
    FROM cvx._log_reader v WHERE v.view_id = ANY (view_ids)
$$;
COMMENT ON FUNCTION cvx._view_gaps(int[]) IS 'where changes of what views read could go unseen; NULL: nowhere';

CREATE FUNCTION cvx._watch_state(view_ids int[]) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    of_view record;
BEGIN
    IF NOT EXISTS (SELECT FROM cvx.view_state t WHERE t.view_id = ANY (view_ids) AND t.untracked_since IS NOT NULL)
       AND NOT EXISTS (SELECT FROM cvx._view_gaps(view_ids) g WHERE g.gap IS NOT NULL)
    THEN
        RETURN;
    END IF;
    -- Of two sessions that change triggers at a time the second looks at what the first has done.
    PERFORM FROM cvx.view_state t WHERE t.view_id = ANY (view_ids) ORDER BY t.view_id FOR UPDATE;
    FOR of_view IN
        SELECT t.view_id, t.untracked_since, t.untracked_reason, g.gap
        FROM cvx.view_state t JOIN cvx._view_gaps(view_ids) g ON g.view_id = t.view_id ORDER BY t.view_id
    LOOP
        IF of_view.gap IS NOT NULL THEN
            UPDATE cvx.view_state t
            SET untracked_since = coalesce(t.untracked_since, clock_timestamp()),
                untracked_reason = CASE WHEN cvx._is_restore() THEN cvx._restoring() ELSE of_view.gap END
            WHERE t.view_id = of_view.view_id
              AND (t.untracked_since IS NULL OR NOT cvx._is_restore() AND t.untracked_reason <> of_view.gap);
        ELSIF of_view.untracked_since IS NOT NULL AND NOT cvx._is_restore() THEN
            INSERT INTO cvx.stale (view_id, stale_since) VALUES (of_view.view_id, of_view.untracked_since);
            UPDATE cvx.view_state t SET untracked_since = NULL, untracked_reason = NULL
            WHERE t.view_id = of_view.view_id;
        ELSIF of_view.untracked_reason = cvx._restoring() THEN
            UPDATE cvx.view_state t SET untracked_since = NULL, untracked_reason = NULL
            WHERE t.view_id = of_view.view_id;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION cvx._watch_state(int[]) IS
    'says of views that changes may go unseen, or that none can any more, from when on all of them is marked';

CREATE FUNCTION cvx._source_of(trigger_name name) RETURNS int
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT substring(trigger_name FROM '^cvx_invalidate_[a-z]+_m?([0-9]{1,9})$')::int
         * CASE WHEN trigger_name LIKE '%\_m%' THEN -1 ELSE 1 END
$$;
COMMENT ON FUNCTION cvx._source_of(name) IS 'the source that the name of a trigger tells; NULL: it is none of ours';

CREATE FUNCTION cvx._views_of(source int) RETURNS int[]
    LANGUAGE sql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(s.view_id ORDER BY s.view_id) FROM cvx._view_sources() s WHERE s.source = _views_of.source
$$;
COMMENT ON FUNCTION cvx._views_of(int) IS 'the views that read a source; NULL: none';

-- Relations that left the source, then those that came to it.
CREATE FUNCTION cvx._watch_again(source int, force bool) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    of_source record;
    gone record;
    come oid;
BEGIN
    SELECT * INTO of_source FROM cvx._watched(source);
    IF of_source.relation IS NULL AND source < 0 THEN
        RETURN;
    END IF;
    FOR gone IN
        SELECT o.relation, array_agg(o.name ORDER BY o.name) AS names,
               bool_or(o.name LIKE 'cvx\_invalidate\_row\_%')
               AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = o.relation
                             AND a.attname = of_source.entity_column) AS holds_rows
        FROM cvx._own_triggers(source) o
        WHERE NOT EXISTS (SELECT FROM cvx._family(of_source.relation) f WHERE f.member = o.relation)
        GROUP BY o.relation ORDER BY o.relation
    LOOP
        IF gone.holds_rows THEN
            PERFORM cvx._mark_rows(source, gone.relation, of_source.entity_column);
        END IF;
        PERFORM cvx._watch_execute(format('DROP TRIGGER %I ON %s', n, gone.relation::regclass))
        FROM unnest(gone.names) n;
    END LOOP;
    IF of_source.relation IS NULL
       OR EXISTS (SELECT FROM cvx._watch_obstacle(source, of_source.relation, of_source.entity_column,
                      of_source.ts_column) o WHERE o.problem LIKE '% has no stored column %')
    THEN
        RETURN;
    END IF;
    FOR come IN
        SELECT DISTINCT m.relation FROM cvx._make_triggers(source, force) m(relation)
        JOIN cvx._family(of_source.relation) f ON f.member = m.relation
        WHERE NOT f.is_above AND f.relkind = 'r' ORDER BY m.relation
    LOOP
        PERFORM cvx._mark_rows(source, come, of_source.entity_column);
    END LOOP;
END
$$;
COMMENT ON FUNCTION cvx._watch_again(int, bool) IS
    'gives a source the triggers that it lacks, takes away those on what is no part of it any more, and marks what '
    'either holds';

CREATE FUNCTION cvx._watch_views() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    of_source int;
BEGIN
    FOR of_source IN SELECT DISTINCT s.source FROM cvx._view_sources() s ORDER BY 1 LOOP
        PERFORM cvx._watch_lock(w.relation, 'SHARE UPDATE EXCLUSIVE') FROM cvx._watched(of_source) w;
        PERFORM cvx._watch_again(of_source, true);
    END LOOP;
    PERFORM cvx._watch_state(array_agg(v.view_id)) FROM cvx._log_reader v;
END
$$;
COMMENT ON FUNCTION cvx._watch_views() IS
    'has all that views read watched, whatever was done to the triggers; what may have gone unseen is marked';

-- One session of a parallel restore at a time looks and says what it has found: the last one has seen what all brought.
CREATE FUNCTION cvx._restore_lock() RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    LOCK TABLE cvx.view IN SHARE UPDATE EXCLUSIVE MODE;
END
$$;
COMMENT ON FUNCTION cvx._restore_lock() IS 'waits for other sessions that restore views or their triggers';

-- Triggers of tables and partitions come with the dump, those of cvx.embedding, which belongs to the extension, do not.
CREATE FUNCTION cvx._watch_restored(sources int[], view_ids int[]) RETURNS void
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT DISTINCT t.command
        FROM unnest(sources) s(source), cvx._watched(s.source) w,
            cvx._wanted_triggers(s.source, w.relation, w.entity_column, w.ts_column) t
        WHERE s.source > 0 AND t.is_above
          AND NOT EXISTS (SELECT FROM pg_trigger p WHERE p.tgrelid = t.relation AND p.tgname = t.name)
          -- The space's own are there.
          AND NOT EXISTS (SELECT FROM cvx._wanted_triggers(s.source, w.relation, w.entity_column, w.ts_column) o
                          WHERE NOT o.is_above AND NOT EXISTS (SELECT FROM pg_trigger p
                              WHERE p.tgrelid = o.relation AND p.tgname = o.name))
    LOOP
        PERFORM cvx._watch_execute(command);
    END LOOP;
    PERFORM cvx._watch_state(view_ids);
END
$$;
COMMENT ON FUNCTION cvx._watch_restored(int[], int[]) IS 'says of restored views whether their triggers are there';

-- Of each row: a statement that is stopped after the rows that its caller wants back fires no statement triggers.
CREATE FUNCTION cvx._views_changed() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    of_source record;
BEGIN
    IF tg_op = 'DELETE' THEN
        PERFORM cvx._unwatch(s.source)
        FROM (SELECT OLD.space_id UNION SELECT -OLD.tracked_id
              UNION SELECT m.space_id FROM cvx.model_version m WHERE m.model = OLD.model) s(source)
        ORDER BY s.source;
        DELETE FROM cvx.stale s WHERE s.view_id = OLD.view_id;
        DELETE FROM cvx.view_state s WHERE s.view_id = OLD.view_id;
    ELSIF NOT cvx._is_restore() THEN
        -- cvx.drop_space locks the row of the space, and then looks for views.
        PERFORM FROM cvx.space s WHERE s.space_id = NEW.space_id FOR KEY SHARE;
        FOR of_source IN
            SELECT s.source, w.relation::regclass, w.entity_column, w.ts_column
            FROM cvx._view_sources() s LEFT JOIN cvx._watched(s.source) w ON true
            WHERE s.view_id = NEW.view_id ORDER BY s.source
        LOOP
            IF of_source.relation IS NULL THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'undefined_table',
                    MESSAGE = 'what the view reads does not exist',
                    HINT = 'It was dropped just now, or its partition was detached from cvx.embedding.';
            END IF;
            PERFORM cvx._watch(of_source.relation, of_source.source, of_source.entity_column, of_source.ts_column);
            PERFORM cvx._watch_state(cvx._views_of(of_source.source));
        END LOOP;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION cvx._views_changed() IS 'has what new views read watched, and what no view reads any more not';
REVOKE ALL ON FUNCTION cvx._views_changed() FROM PUBLIC;
CREATE TRIGGER sources AFTER INSERT OR DELETE ON cvx.view FOR EACH ROW EXECUTE FUNCTION cvx._views_changed();
CREATE TRIGGER sources AFTER INSERT OR DELETE ON cvx.monitor_reader FOR EACH ROW EXECUTE FUNCTION cvx._views_changed();

-- In a restore each of these tables may come last.
CREATE FUNCTION cvx._views_restored() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    of_views int[];
BEGIN
    IF NOT cvx._is_restore() THEN
        RETURN NULL;
    END IF;
    PERFORM cvx._restore_lock();
    IF tg_table_name = 'tracked_table' THEN
        of_views := ARRAY(SELECT v.view_id FROM cvx.view v JOIN cvx_new n ON n.tracked_id = v.tracked_id);
    ELSIF tg_table_name = 'space' THEN
        of_views := ARRAY(SELECT s.view_id FROM cvx._view_sources() s JOIN cvx_new n ON n.space_id = s.source);
    ELSE
        of_views := ARRAY(SELECT n.view_id FROM cvx_new n);
    END IF;
    PERFORM cvx._watch_restored(
        ARRAY(SELECT DISTINCT s.source FROM cvx._view_sources() s WHERE s.view_id = ANY (of_views)), of_views);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION cvx._views_restored() IS 'says of views whose rows are restored whether their triggers are there';
REVOKE ALL ON FUNCTION cvx._views_restored() FROM PUBLIC;
CREATE TRIGGER restored AFTER INSERT ON cvx.view REFERENCING NEW TABLE AS cvx_new
    FOR EACH STATEMENT EXECUTE FUNCTION cvx._views_restored();
CREATE TRIGGER restored AFTER INSERT ON cvx.monitor_reader REFERENCING NEW TABLE AS cvx_new
    FOR EACH STATEMENT EXECUTE FUNCTION cvx._views_restored();
CREATE TRIGGER restored AFTER INSERT ON cvx.view_state REFERENCING NEW TABLE AS cvx_new
    FOR EACH STATEMENT EXECUTE FUNCTION cvx._views_restored();
CREATE TRIGGER restored AFTER INSERT ON cvx.tracked_table REFERENCING NEW TABLE AS cvx_new
    FOR EACH STATEMENT EXECUTE FUNCTION cvx._views_restored();
CREATE TRIGGER restored AFTER INSERT ON cvx.space REFERENCING NEW TABLE AS cvx_new
    FOR EACH STATEMENT EXECUTE FUNCTION cvx._views_restored();

-- Of each row, since logical replication fires no others. SECURITY DEFINER: whoever may align may not mark views.
CREATE FUNCTION cvx._model_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    of_model text;
    made_at timestamptz;
BEGIN
    IF tg_op = 'INSERT' THEN
        of_model := NEW.model;
    ELSE
        of_model := OLD.model;
    END IF;
    IF NOT EXISTS (SELECT FROM cvx._log_reader v WHERE v.model = of_model) THEN
        RETURN NULL;
    END IF;
    IF tg_op = 'DELETE' AND tg_table_name = 'model_version'
       AND NOT EXISTS (SELECT FROM cvx.model_version m WHERE m.model = of_model)
       AND EXISTS (SELECT FROM cvx.view v WHERE v.model = of_model)
    THEN
        RAISE EXCEPTION USING
            ERRCODE = 'dependent_objects_still_exist',
            MESSAGE = format('view %s is on model %s',
                (SELECT to_json(min(v.name)) FROM cvx.view v WHERE v.model = of_model), to_json(of_model)),
            HINT = 'Drop the views on it first: cvx.drop_view(name).';
    END IF;
    IF tg_op = 'UPDATE' AND tg_table_name = 'model_version' THEN
        IF (OLD.version, OLD.space_id, OLD.predecessor)
           IS NOT DISTINCT FROM (NEW.version, NEW.space_id, NEW.predecessor)
        THEN
            RETURN NULL;
        END IF;
    ELSIF tg_op = 'UPDATE' THEN
        IF (OLD.revision, OLD.status) IS NOT DISTINCT FROM (NEW.revision, NEW.status) THEN
            RETURN NULL;
        END IF;
    END IF;
    IF tg_table_name = 'model_version' THEN
        IF tg_op = 'INSERT' AND cvx._is_restore() THEN
            PERFORM cvx._restore_lock();
            PERFORM cvx._watch_restored(
                ARRAY[NEW.space_id], ARRAY(SELECT v.view_id FROM cvx._log_reader v WHERE v.model = of_model));
        ELSE
            IF tg_op <> 'DELETE' AND NEW.space_id IS NOT NULL THEN
                PERFORM cvx._watch(w.relation::regclass, NEW.space_id, w.entity_column, w.ts_column)
                FROM cvx._watched(NEW.space_id) w;
            END IF;
            IF tg_op <> 'INSERT' AND OLD.space_id IS NOT NULL THEN
                PERFORM cvx._unwatch(OLD.space_id);
            END IF;
        END IF;
    END IF;
    IF tg_op = 'INSERT' AND cvx._is_restore() THEN
        -- A view that is restored with its model comes as it was.
        IF tg_table_name = 'alignment' THEN
            made_at := NEW.computed_at;
        ELSE
            made_at := NEW.registered_at;
        END IF;
    END IF;
    INSERT INTO cvx.stale (view_id, stale_since)
    SELECT v.view_id, clock_timestamp() FROM cvx._log_reader v JOIN cvx.view_state t ON t.view_id = v.view_id
    WHERE v.model = of_model AND (made_at IS NULL OR t.last_computed IS NULL OR made_at >= t.last_computed);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION cvx._model_changed() IS 'marks the views on a model whose versions or alignments change';
REVOKE ALL ON FUNCTION cvx._model_changed() FROM PUBLIC;
CREATE TRIGGER views AFTER INSERT OR UPDATE OR DELETE ON cvx.model_version
    FOR EACH ROW EXECUTE FUNCTION cvx._model_changed();
CREATE TRIGGER views AFTER INSERT OR UPDATE OR DELETE ON cvx.alignment
    FOR EACH ROW EXECUTE FUNCTION cvx._model_changed();
ALTER TABLE cvx.model_version ENABLE ALWAYS TRIGGER views;
ALTER TABLE cvx.alignment ENABLE ALWAYS TRIGGER views;

-- Event triggers run as whoever changes the table, and read and write what only the extension's owner may.
CREATE FUNCTION cvx._watch_ddl() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stack text;
    touched oid[];
    relatives oid[];
    of_sources int[];
    of_source int;
    of_views int[];
    problem text;
BEGIN
    IF cvx._is_restore() THEN
        PERFORM cvx._restore_lock();
    END IF;
    IF NOT EXISTS (SELECT FROM cvx._log_reader) THEN
        RETURN;
    END IF;
    GET DIAGNOSTICS stack = PG_CONTEXT;
    IF stack LIKE '%function cvx.\_watch\_execute(%' THEN
        RETURN;
    END IF;
    SELECT array_agg(DISTINCT coalesce(t.tgrelid, c.objid)) INTO touched
    FROM pg_event_trigger_ddl_commands() c
    LEFT JOIN pg_trigger t ON c.classid = 'pg_trigger'::regclass AND t.oid = c.objid
    WHERE c.classid IN ('pg_class'::regclass, 'pg_trigger'::regclass);
    -- The partitions of cvx.embedding tell of themselves, but for those that have just come or gone.
    relatives := ARRAY(
        SELECT f.member FROM unnest(touched) o(oid), cvx._family(o.oid) f WHERE o.oid <> 'cvx.embedding'::regclass
        UNION
        SELECT to_regclass(format('cvx_space.%I', s.name)) FROM cvx.space s
        WHERE 'cvx.embedding'::regclass = ANY (touched) AND s.space_id IN (SELECT v.source FROM cvx._view_sources() v)
          AND NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_trigger t
                          ON t.tgrelid = i.inhrelid AND t.tgname = 'cvx_invalidate_insert_' || s.space_id
                          WHERE i.inhrelid = to_regclass(format('cvx_space.%I', s.name))
                            AND i.inhparent = 'cvx.embedding'::regclass));
    PERFORM cvx._follow_renamed(c.objid, c.objsubid, relatives)
    FROM pg_event_trigger_ddl_commands() c WHERE c.classid = 'pg_class'::regclass AND c.objsubid > 0;
    of_sources := ARRAY(SELECT s FROM cvx._sources_on(relatives) s ORDER BY 1);
    FOREACH of_source IN ARRAY of_sources LOOP
        SELECT o.problem INTO problem
        FROM cvx._watched(of_source) w, cvx._watch_obstacle(of_source, w.relation, w.entity_column, w.ts_column) o
        WHERE o.problem LIKE '%a foreign table' OR o.problem LIKE '%a temporary table';
        IF FOUND THEN
            RAISE EXCEPTION USING
                ERRCODE = 'feature_not_supported',
                MESSAGE = format('views read a table of which this would become a part: %s', problem),
                HINT = 'Changes of permanent tables alone can be followed. Drop those views first: see cvx.views.';
        END IF;
        IF NOT cvx._is_restore() OR NOT EXISTS (
            SELECT FROM unnest(cvx._views_of(of_source)) v(view_id) LEFT JOIN cvx.view_state t USING (view_id)
            WHERE t.view_id IS NULL OR t.untracked_since IS NOT NULL)
        THEN
            PERFORM cvx._watch_again(of_source, false);
        END IF;
    END LOOP;
    -- Also those whose cohorts ask one of the tables, and those of all spaces when the triggers of all may differ.
    of_views := ARRAY(
        SELECT s.view_id FROM cvx._view_sources() s WHERE s.source = ANY (of_sources)
        UNION
        SELECT substring(t.tgname FROM '[0-9]{1,9}$')::int FROM pg_trigger t
        WHERE t.tgrelid = ANY (relatives) AND t.tgfoid = 'cvx._invalidate_all()'::regprocedure
        UNION
        SELECT s.view_id FROM cvx._view_sources() s
        WHERE s.source > 0 AND 'cvx.embedding'::regclass = ANY (touched)
          AND (EXISTS (SELECT FROM cvx.view_state t WHERE t.untracked_since IS NOT NULL)
               OR (SELECT count(*) FROM cvx._own_triggers(0) o WHERE o.enabled IN ('O', 'A')) < 3));
    IF cvx._is_restore() THEN
        PERFORM cvx._watch_restored(of_sources, of_views) WHERE of_views <> '{}';
    ELSE
        PERFORM cvx._watch_state(of_views);
    END IF;
END
$$;
COMMENT ON FUNCTION cvx._watch_ddl() IS
    'keeps what views read watched while tables, their partitions and triggers are altered';
REVOKE ALL ON FUNCTION cvx._watch_ddl() FROM PUBLIC;

CREATE FUNCTION cvx._sources_on(relations oid[]) RETURNS SETOF int
    LANGUAGE sql STABLE STRICT PARALLEL SAFE ROWS 2
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT DISTINCT v.source FROM cvx._view_sources() v
    WHERE v.source IN (
        SELECT -k.tracked_id FROM cvx.tracked_table k WHERE k.relation = ANY (relations)
        UNION ALL
        SELECT s.space_id FROM pg_class c JOIN cvx.space s ON s.name = c.relname
        WHERE c.oid = ANY (relations) AND c.relnamespace = 'cvx_space'::regnamespace
        UNION ALL
        SELECT cvx._source_of(t.tgname) FROM pg_trigger t
        WHERE t.tgrelid = ANY (relations) AND t.tgfoid = 'cvx._invalidate()'::regprocedure)
$$;
COMMENT ON FUNCTION cvx._sources_on(oid[]) IS 'the sources that are, or were until now, in some relations';

CREATE FUNCTION cvx._follow_renamed(relation oid, attnum int, relatives oid[]) RETURNS void
    LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    -- One column is renamed at a time: a name that is no more was that one's.
    UPDATE cvx.tracked_table t
    SET entity_column = CASE WHEN has.entity THEN t.entity_column ELSE has.name END,
        ts_column = CASE WHEN has.ts THEN t.ts_column ELSE has.name END
    FROM (SELECT k.tracked_id, a.attname AS name,
                 EXISTS (SELECT FROM pg_attribute e WHERE e.attrelid = k.relation AND e.attname = k.entity_column
                           AND NOT e.attisdropped) AS entity,
                 EXISTS (SELECT FROM pg_attribute e WHERE e.attrelid = k.relation AND e.attname = k.ts_column
                           AND NOT e.attisdropped) AS ts
          FROM cvx.tracked_table k
          JOIN pg_attribute a ON a.attrelid = _follow_renamed.relation AND a.attnum = _follow_renamed.attnum
          WHERE k.relation = ANY (relatives)) has
    WHERE has.tracked_id = t.tracked_id AND NOT (has.entity AND has.ts)
$$;
COMMENT ON FUNCTION cvx._follow_renamed(oid, int, oid[]) IS 'notes the new name of a column that views read';

CREATE FUNCTION cvx._forget_view(view_id int, name text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    lost record;
BEGIN
    FOR lost IN
        SELECT t.tgname, t.tgrelid FROM pg_trigger t
        WHERE t.tgname IN ('cvx_invalidate_all_' || _forget_view.view_id,
                           'cvx_invalidate_all_row_' || _forget_view.view_id)
    LOOP
        PERFORM cvx._watch_execute(format('DROP TRIGGER %I ON %s', lost.tgname, lost.tgrelid::regclass));
    END LOOP;
    DELETE FROM cvx.view v WHERE v.view_id = _forget_view.view_id;
    DELETE FROM cvx.tracked_table t WHERE NOT EXISTS (SELECT FROM cvx.view v WHERE v.tracked_id = t.tracked_id);
    FOR lost IN
        SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind, c.oid::regclass::text AS relation
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relname = _forget_view.name AND c.relkind IN ('v', 'r')
          AND n.nspname IN ('cvx_view', 'cvx_view_definition', 'cvx_view_data', 'cvx_view_points', 'cvx_view_history')
    LOOP
        PERFORM cvx._watch_execute(format('DROP %s IF EXISTS %s CASCADE', lost.kind, lost.relation));
    END LOOP;
END
$$;
COMMENT ON FUNCTION cvx._forget_view(int, text) IS 'drops what is left of a view of which a part was dropped';

CREATE FUNCTION cvx._watch_drop() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    stack text;
    of_source record;
BEGIN
    IF NOT EXISTS (SELECT FROM cvx._log_reader) THEN
        RETURN;
    END IF;
    GET DIAGNOSTICS stack = PG_CONTEXT;
    IF stack LIKE '%function cvx.\_watch\_execute(%' THEN
        RETURN;
    END IF;
    PERFORM cvx._forget_view(v.view_id, v.name)
    FROM cvx.view v
    WHERE v.name IN (
        SELECT d.object_name FROM pg_event_trigger_dropped_objects() d
        WHERE d.object_type IN ('view', 'table')
          AND d.schema_name IN
              ('cvx_view', 'cvx_view_definition', 'cvx_view_data', 'cvx_view_points', 'cvx_view_history'));
    -- A relation that was dropped took its triggers along.
    FOR of_source IN
        SELECT s.source, bool_or(EXISTS (SELECT FROM pg_event_trigger_dropped_objects() r
                 WHERE r.object_type = 'table' AND r.schema_name = d.address_names[1]
                   AND r.object_name = d.address_names[2])) AS lost_rows
        FROM (SELECT o.address_names, cvx._source_of(o.address_names[3]::name) AS source
              FROM pg_event_trigger_dropped_objects() o WHERE o.object_type = 'trigger') d
        JOIN (SELECT DISTINCT v.source FROM cvx._view_sources() v) s
          ON s.source = d.source OR d.source = 0 AND s.source > 0
        GROUP BY s.source ORDER BY s.source
    LOOP
        IF of_source.lost_rows THEN
            PERFORM cvx._mark_source(of_source.source);
        END IF;
        PERFORM cvx._watch_state(cvx._views_of(of_source.source));
    END LOOP;
    PERFORM cvx._watch_state(array_agg(v.view_id))
    FROM cvx.view v JOIN pg_event_trigger_dropped_objects() d ON d.object_type = 'trigger'
     AND d.address_names[3] IN ('cvx_invalidate_all_' || v.view_id, 'cvx_invalidate_all_row_' || v.view_id);
END
$$;
COMMENT ON FUNCTION cvx._watch_drop() IS
    'marks views of which a partition is dropped, and drops the rest of a view of which a part is';
REVOKE ALL ON FUNCTION cvx._watch_drop() FROM PUBLIC;

CREATE FUNCTION cvx._watch_rewrite() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Values are computed anew for 2, defaults, and 4, types; the other reasons move rows as they are.
    IF pg_event_trigger_table_rewrite_reason() & 6 <> 0 AND EXISTS (SELECT FROM cvx._log_reader) THEN
        PERFORM cvx._mark_source(s) FROM cvx._sources_on(ARRAY[pg_event_trigger_table_rewrite_oid()]) s;
    END IF;
END
$$;
COMMENT ON FUNCTION cvx._watch_rewrite() IS 'marks views of a table whose values are computed anew';
REVOKE ALL ON FUNCTION cvx._watch_rewrite() FROM PUBLIC;

-- DETACH CONCURRENTLY commits in its middle, after which the rows are gone for readers: the mark has to be there then.
-- It runs as a statement by itself, whose text is known.
CREATE FUNCTION cvx._watch_detach() RETURNS event_trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_query() ~* '\mdetach\M.*\mconcurrently\M' AND EXISTS (SELECT FROM cvx._log_reader) THEN
        PERFORM cvx._mark_source(s.source)
        FROM (SELECT DISTINCT v.source FROM cvx._view_sources() v) s, cvx._watched(s.source) w
        WHERE EXISTS (SELECT FROM cvx._family(w.relation) f WHERE f.relkind = 'p');
    END IF;
END
$$;
COMMENT ON FUNCTION cvx._watch_detach() IS
    'marks views of partitioned tables before a partition is detached concurrently';
REVOKE ALL ON FUNCTION cvx._watch_detach() FROM PUBLIC;

CREATE EVENT TRIGGER cvx_watch_ddl ON ddl_command_end
    WHEN TAG IN ('ALTER TABLE', 'CREATE TABLE', 'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE', 'CREATE SCHEMA',
                 'CREATE TRIGGER', 'ALTER TRIGGER')
    EXECUTE FUNCTION cvx._watch_ddl();
COMMENT ON EVENT TRIGGER cvx_watch_ddl IS 'keeps what views read watched';
ALTER EVENT TRIGGER cvx_watch_ddl ENABLE ALWAYS;
CREATE EVENT TRIGGER cvx_watch_drop ON sql_drop EXECUTE FUNCTION cvx._watch_drop();
COMMENT ON EVENT TRIGGER cvx_watch_drop IS 'marks views of which a partition is dropped';
ALTER EVENT TRIGGER cvx_watch_drop ENABLE ALWAYS;
CREATE EVENT TRIGGER cvx_watch_rewrite ON table_rewrite EXECUTE FUNCTION cvx._watch_rewrite();
COMMENT ON EVENT TRIGGER cvx_watch_rewrite IS 'marks views of a table whose values are computed anew';
ALTER EVENT TRIGGER cvx_watch_rewrite ENABLE ALWAYS;
CREATE EVENT TRIGGER cvx_watch_detach ON ddl_command_start WHEN TAG IN ('ALTER TABLE')
    EXECUTE FUNCTION cvx._watch_detach();
COMMENT ON EVENT TRIGGER cvx_watch_detach IS
    'marks views of partitioned tables before a partition is detached concurrently';
ALTER EVENT TRIGGER cvx_watch_detach ENABLE ALWAYS;

REVOKE ALL ON FUNCTION
    cvx._watch_state(int[]),
    cvx._watch_again(int, bool),
    cvx._watch_views(),
    cvx._restore_lock(),
    cvx._watch_restored(int[], int[]),
    cvx._follow_renamed(oid, int, oid[]),
    cvx._forget_view(int, text)
FROM PUBLIC;
