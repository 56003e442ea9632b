-- One model a space: rows that name another than the registered one are refused, flagged or let through.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all
\getenv data CVX_TEST_DATA

SELECT count(create_space(name, 2)) FROM unnest(ARRAY['guarded', 'second', 'free']) name;
SELECT version, alignment_status FROM create_model('m', 'v1', 'guarded', model_hash => 'aaaa');
SELECT version, alignment_status FROM create_model('m', 'v2', 'second', 'v1');
SHOW cvx.model_mismatch;

-- error: on every way in, from the parent and the partition.

CREATE PROCEDURE pg_temp.refused(version text, hash text) LANGUAGE plpgsql AS $$
BEGIN
    CALL pg_temp.raises(format('INSERT INTO cvx.embedding (space_id, entity_id, ts, vec, model_version, model_hash) VALUES (space_id(''guarded''), ''x'', now(), ''[1,2]'', %L, %L)', version, hash));
    CALL pg_temp.raises(format('INSERT INTO cvx_space.guarded (entity_id, ts, vec, model_version, model_hash) VALUES (''x'', now(), ''[1,2]'', %L, %L)', version, hash));
END
$$;
CALL pg_temp.refused('v2', NULL);
CALL pg_temp.refused('v1', 'bbbb');
CALL pg_temp.refused(NULL, 'bbbb');
CALL pg_temp.refused('V1', NULL);
CALL pg_temp.refused('', NULL);
CALL pg_temp.refused('v2', 'bbbb');
CALL pg_temp.refused(E'tab\t"quote" ', NULL);
-- What names it right, or names nothing, passes; so does any name where no model is registered, and any hash where none is.
INSERT INTO embedding (space_id, entity_id, ts, vec, model_version, model_hash) SELECT space_id(s), 'a', t::timestamptz, '[1,2]', v, h FROM (VALUES
    ('guarded', '2026-01-01', NULL, NULL), ('guarded', '2026-01-02', 'v1', NULL), ('guarded', '2026-01-03', 'v1', 'aaaa'), ('guarded', '2026-01-04', NULL, 'aaaa'),
    ('free', '2026-01-01', 'v7', 'cccc'), ('free', '2026-01-02', 'v8', NULL), ('second', '2026-01-01', 'v2', 'anything'), ('second', '2026-01-02', NULL, 'else')) r(s, t, v, h);
SELECT count(*) FROM embedding;
-- One bad row refuses the statement.
CALL pg_temp.raises($$INSERT INTO cvx_space.guarded (entity_id, ts, vec, model_version) SELECT 'b', '2026-01-01'::timestamptz + i * interval '1 s', '[1,2]', CASE i WHEN 700 THEN 'v2' ELSE 'v1' END FROM generate_series(1, 1000) i$$);
COPY cvx_space.guarded (entity_id, ts, vec, model_version) FROM stdin;
c	2026-01-01	[1,2]	v1
c	2026-01-02	[1,2]	v2
\.
COPY cvx_space.guarded (entity_id, ts, vec, model_version) FROM stdin;
c	2026-01-01	[1,2]	v1
c	2026-01-02	[1,2]	\N
\.
CALL pg_temp.raises($$UPDATE embedding SET model_version = 'v2' WHERE space_id = space_id('guarded')$$);
CALL pg_temp.raises($$UPDATE cvx_space.guarded SET model_hash = 'bbbb'$$);
CALL pg_temp.raises($$UPDATE embedding SET space_id = space_id('guarded') WHERE model_version = 'v7'$$);
CALL pg_temp.raises($$INSERT INTO cvx_space.guarded (entity_id, ts, vec) VALUES ('a', '2026-01-02', '[1,2]') ON CONFLICT (space_id, entity_id, ts) DO UPDATE SET model_version = 'v2'$$);
CALL pg_temp.raises($$MERGE INTO cvx_space.guarded g USING (VALUES (1)) v(i) ON false WHEN NOT MATCHED THEN INSERT (entity_id, ts, vec, model_version) VALUES ('d', now(), '[1,2]', 'v2')$$);
SELECT entity_id, count(*), min(model_version) AS version FROM cvx_space.guarded GROUP BY 1 ORDER BY 1;

-- warning: taken, and said once a statement, of which row after row may be wrong.

SET cvx.model_mismatch = 'warning';
INSERT INTO cvx_space.guarded (entity_id, ts, vec, model_version) VALUES ('w1', '2026-01-01', '[1,2]', 'v2');
INSERT INTO cvx_space.guarded (entity_id, ts, vec, model_version) SELECT 'w2', '2026-01-01'::timestamptz + i * interval '1 s', '[1,2]', 'v' || i FROM generate_series(1, 1000) i;
INSERT INTO embedding (space_id, entity_id, ts, vec, model_hash) VALUES (space_id('guarded'), 'w3', '2026-01-01', '[1,2]', 'bbbb'), (space_id('guarded'), 'w3', '2026-01-02', '[1,2]', 'bbbb');
COPY cvx_space.guarded (entity_id, ts, vec, model_version) FROM stdin;
w4	2026-01-01	[1,2]	v2
w4	2026-01-02	[1,2]	v3
\.
UPDATE cvx_space.guarded SET model_version = 'v9' WHERE entity_id LIKE 'w%';
UPDATE embedding SET model_version = 'v1' WHERE entity_id LIKE 'w%' AND model_hash IS NULL;
SELECT count(*), min(model_version) AS version FROM cvx_space.guarded WHERE entity_id LIKE 'w%' AND model_hash IS NULL;

-- ignore: not a word.

SET cvx.model_mismatch = 'ignore';
INSERT INTO cvx_space.guarded (entity_id, ts, vec, model_version, model_hash) VALUES ('i', '2026-01-01', '[1,2]', 'v2', 'bbbb');
UPDATE cvx_space.guarded SET model_version = 'v3' WHERE entity_id = 'i';
SET cvx.model_mismatch = 'error';
-- A row that is in already is judged when it is written again.
CALL pg_temp.raises($$UPDATE cvx_space.guarded SET source = 's' WHERE entity_id = 'i'$$);
DELETE FROM cvx_space.guarded WHERE entity_id = 'i';
-- A statement that changes the setting in its middle, in a function, and one that is rolled back.
BEGIN;
SET LOCAL cvx.model_mismatch = 'ignore';
INSERT INTO cvx_space.guarded (entity_id, ts, vec, model_version) VALUES ('l', '2026-01-01', '[1,2]', 'v2');
ROLLBACK;
CALL pg_temp.refused('v2', NULL);
CALL pg_temp.raises($$SET cvx.model_mismatch = 'on'$$);
CALL pg_temp.raises($$SET cvx.model_mismatch = ''$$);
CALL pg_temp.raises($$SET cvx.model_match = 'error'$$);

-- Who may change it.

CREATE ROLE cvx_guard_writer;
CREATE ROLE cvx_guard_admin;
SELECT grant_write('cvx_guard_writer'), grant_admin('cvx_guard_admin');
SET ROLE cvx_guard_writer;
CALL pg_temp.raises($$SET cvx.model_mismatch = 'ignore'$$);
CALL pg_temp.raises($$SELECT set_config('cvx.model_mismatch', 'warning', true)$$);
-- The check does not ask the writer for the right to read registrations.
RESET ROLE;
REVOKE SELECT ON model_version FROM cvx_guard_writer;
SET ROLE cvx_guard_writer;
CALL pg_temp.raises($$INSERT INTO cvx_space.guarded (entity_id, ts, vec, model_version) VALUES ('x', now(), '[1,2]', 'v2')$$);
INSERT INTO cvx_space.guarded (entity_id, ts, vec, model_version) VALUES ('by a writer', '2026-01-01', '[1,2]', 'v1');
-- Nor does it give way to other settings that a writer may change.
SET check_function_bodies = off;
CALL pg_temp.raises($$INSERT INTO cvx_space.guarded (entity_id, ts, vec, model_version) VALUES ('x', now(), '[1,2]', 'v2')$$);
RESET check_function_bodies;
CALL pg_temp.raises($$SET session_replication_role = 'replica'$$);
RESET ROLE;
SET ROLE cvx_guard_admin;
SET cvx.model_mismatch = 'ignore';
INSERT INTO cvx_space.guarded (entity_id, ts, vec, model_version) VALUES ('by an admin', '2026-01-01', '[1,2]', 'v2');
RESET cvx.model_mismatch;
RESET ROLE;
DROP OWNED BY cvx_guard_writer, cvx_guard_admin;
DROP ROLE cvx_guard_writer, cvx_guard_admin;

-- A replica applies what its primary has accepted.

BEGIN;
SET LOCAL session_replication_role = 'replica';
INSERT INTO cvx_space.guarded (entity_id, ts, vec, model_version) VALUES ('r', '2026-01-01', '[1,2]', 'v2');
-- What no space takes is refused all the same.
CALL pg_temp.raises($$INSERT INTO cvx_space.guarded (entity_id, ts, vec, model_version) VALUES ('r', '2026-01-02', '[0,0]', 'v2')$$);
ROLLBACK;

-- A model that is registered, dropped or another after rows exist: those stay as they are, new ones are judged.

SELECT version FROM create_model('n', 'v9', 'free');
SELECT array_agg(DISTINCT model_version ORDER BY model_version) AS stay FROM cvx_space.free;
CALL pg_temp.raises($$INSERT INTO cvx_space.free (entity_id, ts, vec, model_version) VALUES ('a', '2026-01-03', '[1,2]', 'v7')$$);
CALL pg_temp.raises($$UPDATE cvx_space.free SET source = 's'$$);
INSERT INTO cvx_space.free (entity_id, ts, vec, model_version) VALUES ('a', '2026-01-03', '[1,2]', 'v9');
DELETE FROM cvx_space.free WHERE model_version = 'v7';
SELECT drop_model('n');
INSERT INTO cvx_space.free (entity_id, ts, vec, model_version) VALUES ('a', '2026-01-04', '[1,2]', 'v7');
-- Within one statement, within one transaction, and after a rollback.
BEGIN;
SELECT version FROM create_model('n', 'v9', 'free');
CALL pg_temp.raises($$INSERT INTO cvx_space.free (entity_id, ts, vec, model_version) VALUES ('a', '2026-01-05', '[1,2]', 'v7')$$);
SAVEPOINT s;
SELECT drop_model('n');
INSERT INTO cvx_space.free (entity_id, ts, vec, model_version) VALUES ('a', '2026-01-05', '[1,2]', 'v7');
ROLLBACK TO s;
CALL pg_temp.raises($$INSERT INTO cvx_space.free (entity_id, ts, vec, model_version) VALUES ('a', '2026-01-05', '[1,2]', 'v7')$$);
ROLLBACK;
INSERT INTO cvx_space.free (entity_id, ts, vec, model_version) VALUES ('a', '2026-01-05', '[1,2]', 'v7');
DO $$
DECLARE
    state text;
BEGIN
    PERFORM create_model('n', 'v9', 'free');
    BEGIN
        INSERT INTO cvx_space.free (entity_id, ts, vec, model_version) VALUES ('a', '2026-01-06', '[1,2]', 'v7');
    EXCEPTION WHEN check_violation THEN state := SQLSTATE;
    END;
    PERFORM drop_model('n');
    INSERT INTO cvx_space.free (entity_id, ts, vec, model_version) VALUES ('a', '2026-01-06', '[1,2]', 'v7');
    PERFORM create_model('n', 'v7', 'free');
    INSERT INTO cvx_space.free (entity_id, ts, vec, model_version) VALUES ('a', '2026-01-07', '[1,2]', 'v7');
    RAISE NOTICE '% while v9 was registered', state;
END
$$;
SELECT drop_model('n');

-- A space that is made of another version's rows: by INSERT ... SELECT they carry their names along.

CALL pg_temp.raises($$INSERT INTO cvx_space.second (entity_id, ts, vec, model_version) SELECT entity_id || ' too', ts, vec, model_version FROM cvx_space.guarded WHERE model_version IS NOT NULL$$);

-- Ingestion keeps what it refuses.

SELECT create_space('texts', 384) IS NOT NULL AS made;
SELECT version FROM create_model('texts', 'another', 'texts');
SELECT records_read > 1000 AS read, written, rejected = records_read AS all_rejected, reject_reasons = jsonb_build_object('model_mismatch', rejected) AS reasons
    FROM ingest_parquet(:'data' || '/changelog_v1.parquet', 'texts', 'package', 'uploaded_at', 'embedding', model_version_column => 'model_version');
SELECT DISTINCT reason, payload ->> 'model_version' IS NOT NULL AS version_kept FROM dead_letter;
SET cvx.model_mismatch = 'warning';
SELECT written = records_read AS all_written, rejected, reject_reasons FROM ingest_parquet(:'data' || '/changelog_v1.parquet', 'texts', 'package', 'uploaded_at', 'embedding', model_version_column => 'model_version', batch_size => 100);
RESET cvx.model_mismatch;
DELETE FROM cvx_space.texts;
SELECT written = records_read AS nothing_named FROM ingest_parquet(:'data' || '/changelog_v1.parquet', 'texts', 'package', 'uploaded_at', 'embedding');
TRUNCATE dead_letter, sync_run;

SELECT drop_model('m'), drop_model('texts');
SELECT count(drop_space(name, cascade => true)) FROM space;
