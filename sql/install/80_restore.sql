-- pg_dump and the primary key of cvx.embedding.
--
-- In a restored database cvx.embedding comes with the extension, primary key included, and attaching a dumped partition
-- to it makes that partition's key at once; the dump's own ADD CONSTRAINT ... PRIMARY KEY would then be refused, once for
-- each space. So the key of the empty parent gives way while a restore brings partitions without theirs, and comes
-- back, the way pg_dump itself writes it for a table of a user, when the dump attaches the partitions' keys to it.

CREATE FUNCTION cvx._restore_key() RETURNS event_trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parent CONSTANT regclass := to_regclass('cvx.embedding');
    stack text;
BEGIN
    -- What is altered below comes here as well.
    GET DIAGNOSTICS stack = PG_CONTEXT;
    IF stack LIKE '%cvx.\_restore\_key()%cvx.\_restore\_key()%' THEN
        RETURN;
    END IF;
    IF parent IS NULL OR NOT pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = parent), 'USAGE') THEN
        RETURN;
    END IF;
    IF tg_tag = 'ALTER TABLE' THEN
        -- A partition as the dump makes it: checked as one, not attached yet, and without the key.
        IF EXISTS (SELECT FROM pg_class c JOIN pg_constraint k ON k.conrelid = c.oid AND k.conname = 'valid_embedding'
                   WHERE c.relnamespace = 'cvx_space'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
                     AND NOT c.relhasindex)
           AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = parent)
           AND EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = parent AND k.conname = 'embedding_pkey')
        THEN
            ALTER TABLE cvx.embedding DROP CONSTRAINT embedding_pkey;
        END IF;
    ELSIF NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = parent AND k.contype = 'p') THEN
        -- Of the jobs of a parallel restore the first makes the key. The others let go of the table again: what they are
        -- about to do locks the key first.
        BEGIN
            LOCK TABLE ONLY cvx.embedding IN ACCESS EXCLUSIVE MODE;
            IF EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = parent AND k.contype = 'p') THEN
                RAISE EXCEPTION USING ERRCODE = 'duplicate_object';
            END IF;
            ALTER TABLE ONLY cvx.embedding ADD CONSTRAINT embedding_pkey PRIMARY KEY (space_id, entity_id, ts);
        EXCEPTION WHEN duplicate_object THEN
            NULL;
        END;
    END IF;
END
$$;
COMMENT ON FUNCTION cvx._restore_key() IS 'lets the primary keys of dumped partitions be restored';
REVOKE ALL ON FUNCTION cvx._restore_key() FROM PUBLIC;

CREATE EVENT TRIGGER cvx_restore_key ON ddl_command_start WHEN TAG IN ('ALTER TABLE', 'ALTER INDEX')
    EXECUTE FUNCTION cvx._restore_key();
COMMENT ON EVENT TRIGGER cvx_restore_key IS 'lets the primary keys of dumped partitions be restored';
