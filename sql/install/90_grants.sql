-- Rights. PUBLIC may call what only computes on its arguments or reads with the caller's own rights; nothing
-- else. Everything that writes, builds or reads files is granted by the three functions below.

GRANT USAGE ON SCHEMA cvx TO PUBLIC;
-- What is in them has rights of its own: those of the view's owner, and what he grants.
GRANT USAGE ON SCHEMA cvx_view, cvx_view_definition, cvx_view_data, cvx_view_history, cvx_view_points, cvx_training TO PUBLIC;

REVOKE ALL ON FUNCTION
    cvx.create_space(text, int, text),
    cvx.drop_space(text, bool),
    cvx.create_index(text, text),
    cvx.create_model(text, text, text, text, text, bool),
    cvx.drop_model(text, text),
    cvx.align(text, text, text, int),
    cvx._align(text, text, text, int),
    cvx.ingest_parquet(text, text, text, text, text, text, text, text, text, text, text[], text, int, text),
    cvx._poke(bool),
    cvx.enable(),
    cvx.disable(),
    cvx.create_source(text, text, text, jsonb, text, bool, int, text, text),
    cvx.alter_source(text, jsonb, text, bool, int, text, text, text),
    cvx.drop_source(text),
    cvx.sync_source(text, bool),
    cvx.pause_source(text),
    cvx.resume_source(text),
    cvx.replay_dead_letters(text, text[]),
    cvx.create_secret(text, text, bool),
    cvx.drop_secret(text),
    cvx.apply_config(text, bool),
    cvx.dump_config(),
    cvx._worker_slots(),
    cvx.create_view(text, text, text, text, text, text, jsonb, interval, jsonb, regclass, name, name, name, text),
    cvx.drop_view(text),
    cvx.refresh_view(text, text[], bool),
    cvx.invalidate_view(text),
    cvx.create_training_set(text, regclass, text[], bool),
    cvx.drop_training_set(text),
    cvx.create_monitor(text, jsonb, jsonb, interval, text, interval, text, text, text, text, text, jsonb),
    cvx.alter_monitor(text, jsonb, jsonb, interval, text, interval, text, text, text, text, text, jsonb),
    cvx.drop_monitor(text),
    cvx.pause_monitor(text),
    cvx.resume_monitor(text),
    cvx.mute_monitor(text, interval),
    cvx.unmute_monitor(text),
    cvx.evaluate_monitor(text),
    cvx.test_monitor(text),
    cvx.acknowledge_alert(bigint, text),
    cvx.resend_alert(bigint)
FROM PUBLIC;

CREATE FUNCTION cvx.grant_read(role regrole) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = grant_read.role) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'undefined_object',
            MESSAGE = format('role %s does not exist', grant_read.role);
    END IF;
    EXECUTE format('GRANT SELECT ON cvx.space, cvx.embedding, cvx.model_version, cvx.alignment, cvx.sync_run, cvx.sources, cvx.workers,
        cvx.stat_progress_sync, cvx.views, cvx.invalidation_log, cvx.freshness_status,
        cvx.monitors, cvx.alert TO %s', grant_read.role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION cvx._worker_slots() TO %s', grant_read.role);
    -- A training set is a table of whoever makes it, of what he may read.
    EXECUTE format('GRANT CREATE ON SCHEMA cvx_training TO %s', grant_read.role);
    EXECUTE format('GRANT SELECT ON cvx.training_set TO %s', grant_read.role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION cvx.create_training_set(text, regclass, text[], bool), cvx.drop_training_set(text)
        TO %s', grant_read.role);
END
$$;
COMMENT ON FUNCTION cvx.grant_read(regrole) IS
    'lets a role read spaces, embeddings, models, runs, alerts of its monitors, and what sources, views, monitors and workers '
    'do, and make training sets of its own';

CREATE FUNCTION cvx.grant_write(role regrole) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    partition_name name;
BEGIN
    PERFORM cvx.grant_read(grant_write.role);
    EXECUTE format('GRANT USAGE ON SCHEMA cvx_space TO %s', grant_write.role);
    EXECUTE format('GRANT INSERT, UPDATE, DELETE ON cvx.embedding TO %s', grant_write.role);
    -- SELECT on a partition would go round row-level security on cvx.embedding, so it is not granted.
    FOR partition_name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'cvx.embedding'::regclass AND c.relnamespace = 'cvx_space'::regnamespace
    LOOP
        EXECUTE format('GRANT INSERT, UPDATE, DELETE ON cvx_space.%I TO %s', partition_name, grant_write.role);
    END LOOP;
    EXECUTE format('GRANT INSERT, SELECT, UPDATE ON cvx.sync_run TO %s', grant_write.role);
    EXECUTE format('GRANT INSERT, SELECT, DELETE ON cvx.dead_letter TO %s', grant_write.role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION cvx.ingest_parquet(
        text, text, text, text, text, text, text, text, text, text, text[], text, int, text) TO %s', grant_write.role);
END
$$;
COMMENT ON FUNCTION cvx.grant_write(regrole) IS 'cvx.grant_read, and lets a role write and ingest embeddings';

CREATE FUNCTION cvx.grant_admin(role regrole) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cvx.grant_write(grant_admin.role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION
        cvx.create_space(text, int, text), cvx.drop_space(text, bool), cvx.create_index(text, text),
        cvx.create_model(text, text, text, text, text, bool), cvx.drop_model(text, text),
        cvx.align(text, text, text, int), cvx._align(text, text, text, int) TO %s', grant_admin.role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION
        cvx.create_source(text, text, text, jsonb, text, bool, int, text, text),
        cvx.alter_source(text, jsonb, text, bool, int, text, text, text), cvx.drop_source(text),
        cvx.sync_source(text, bool), cvx.pause_source(text), cvx.resume_source(text),
        cvx.replay_dead_letters(text, text[]), cvx.create_secret(text, text, bool), cvx.drop_secret(text),
        cvx.apply_config(text, bool), cvx.dump_config() TO %s', grant_admin.role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION
        cvx.create_view(text, text, text, text, text, text, jsonb, interval, jsonb, regclass, name, name, name, text),
        cvx.drop_view(text), cvx.refresh_view(text, text[], bool), cvx.invalidate_view(text) TO %s', grant_admin.role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION
        cvx.create_monitor(text, jsonb, jsonb, interval, text, interval, text, text, text, text, text, jsonb),
        cvx.alter_monitor(text, jsonb, jsonb, interval, text, interval, text, text, text, text, text, jsonb),
        cvx.drop_monitor(text), cvx.pause_monitor(text), cvx.resume_monitor(text), cvx.mute_monitor(text, interval),
        cvx.unmute_monitor(text), cvx.evaluate_monitor(text), cvx.test_monitor(text),
        cvx.acknowledge_alert(bigint, text), cvx.resend_alert(bigint) TO %s', grant_admin.role);
    EXECUTE format('GRANT SELECT ON cvx.source, cvx.source_position, cvx.source_state, cvx.monitor, cvx.view,
        cvx.stale TO %s', grant_admin.role);
    EXECUTE format('GRANT INSERT, UPDATE, DELETE ON cvx.model_version, cvx.alignment TO %s', grant_admin.role);
    -- To lock the row of a space while a model is registered for it.
    EXECUTE format('GRANT UPDATE (description) ON cvx.space TO %s', grant_admin.role);
    EXECUTE format('GRANT USAGE ON SEQUENCE cvx.alignment_revision_seq TO %s', grant_admin.role);
    EXECUTE format('GRANT SET ON PARAMETER cvx.model_mismatch TO %s', grant_admin.role);
END
$$;
COMMENT ON FUNCTION cvx.grant_admin(regrole) IS
    'cvx.grant_write, and lets a role make, drop and index spaces, register and align models, declare sources, secrets, views and '
    'monitors, and '
    'set cvx.model_mismatch';

REVOKE ALL ON FUNCTION cvx.grant_read(regrole), cvx.grant_write(regrole), cvx.grant_admin(regrole) FROM PUBLIC;
