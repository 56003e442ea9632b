-- Rights: what the three grants open, and what they leave closed.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all

SELECT create_space('before', 2) IS NOT NULL AS made;
CREATE ROLE cvx_nobody;
CREATE ROLE cvx_reader;
CREATE ROLE "cvx ""odd"" writer";
CREATE ROLE cvx_admin;
CREATE SCHEMA scratch;
GRANT USAGE, CREATE ON SCHEMA scratch TO PUBLIC;
SELECT grant_read('cvx_reader'), grant_write('"cvx ""odd"" writer"'), grant_admin('cvx_admin');
SELECT grant_read('cvx_reader'), grant_read(NULL);
CALL pg_temp.raises($$SELECT grant_read('no_such_role')$$);
CALL pg_temp.raises($$SELECT grant_read('public')$$);
CALL pg_temp.raises($$SELECT grant_read('-')$$);
CALL pg_temp.raises($$SELECT grant_write(4294967294::oid::regrole)$$);
SELECT create_space('after', 2) IS NOT NULL AS made;

-- What each role may do: ok, or the SQLSTATE. Nothing of it stays done.
CREATE TABLE scratch.outcome (n int, statement text, role text DEFAULT current_user, outcome text);
GRANT INSERT ON scratch.outcome TO PUBLIC;
CREATE FUNCTION scratch.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RAISE 'undo' USING ERRCODE = 'ZZ999';
EXCEPTION
    WHEN SQLSTATE 'ZZ999' THEN RETURN 'ok';
    WHEN OTHERS THEN RETURN SQLSTATE;
END
$$;
CREATE FUNCTION scratch.try_all() RETURNS void LANGUAGE sql AS $f$
    INSERT INTO scratch.outcome (n, statement, outcome) SELECT n, s, scratch.try(s) FROM (VALUES
        (1, $$SELECT cvx.drift('{[1]@2026-01-01, [2]@2026-01-02}')$$),
        (2, $$SELECT cvx.trajectory_agg(now(), '[1]'::public.vector)$$),
        (3, $$SELECT cvx.trajectory('e', 'before')$$),
        (4, $$SELECT cvx.provenance('e')$$),
        (5, $$SELECT cvx.freshness()$$),
        (6, $$SELECT cvx.space_id('before')$$),
        (7, $$SELECT * FROM cvx.space$$),
        (8, $$SELECT * FROM cvx.embedding$$),
        (9, $$SELECT * FROM cvx.sync_run$$),
        (10, $$SELECT * FROM cvx.dead_letter$$),
        (11, $$SELECT * FROM cvx_space.before$$),
        (12, $$INSERT INTO cvx.embedding (space_id, entity_id, ts, vec) SELECT space_id, 'e', '2026-01-01', '[1,2]' FROM cvx.space WHERE name = 'before'$$),
        (13, $$INSERT INTO cvx_space.before (entity_id, ts, vec) VALUES ('e', '2026-01-01', '[1,2]')$$),
        (14, $$INSERT INTO cvx_space.after (entity_id, ts, vec) VALUES ('e', '2026-01-01', '[1,2]')$$),
        (15, $$INSERT INTO cvx_space.after (entity_id, ts, vec) VALUES ('e', '2026-01-01', '[0,0]')$$),
        (16, $$UPDATE cvx.embedding SET source = 's'$$),
        (17, $$DELETE FROM cvx.embedding$$),
        (18, $$DELETE FROM cvx.dead_letter$$),
        (19, $$TRUNCATE cvx.embedding$$),
        (20, $$INSERT INTO cvx.space (name, dims) VALUES ('mine', 3)$$),
        (21, $$UPDATE cvx.space SET dims = 5$$),
        (22, $$ALTER TABLE cvx_space.before DROP CONSTRAINT valid_embedding$$),
        (23, $$ALTER TABLE cvx.embedding DETACH PARTITION cvx_space.before$$),
        (24, $$CREATE TABLE cvx_space.mine PARTITION OF cvx.embedding FOR VALUES IN (-1)$$),
        (25, $$CREATE TABLE cvx.mine (i int)$$),
        (26, $$CREATE FUNCTION cvx.drift(text) RETURNS text LANGUAGE sql AS 'SELECT 1'$$),
        (27, $$SELECT cvx.create_space('mine', 3)$$),
        (28, $$SELECT cvx.create_index('before')$$),
        (29, $$SELECT cvx.drop_space('before')$$),
        (30, $$SELECT cvx.ingest_parquet('/etc/passwd', 'before')$$),
        (31, $$SELECT cvx.grant_read(current_user::regrole)$$),
        (32, $$SELECT cvx.grant_admin(current_user::regrole)$$),
        (33, $$DROP EXTENSION cvx$$)
    ) v(n, s)
$f$;
SET ROLE cvx_nobody;
SELECT scratch.try_all();
SET ROLE cvx_reader;
SELECT scratch.try_all();
SET ROLE "cvx ""odd"" writer";
SELECT scratch.try_all();
SET ROLE cvx_admin;
SELECT scratch.try_all();
RESET ROLE;
SELECT max(outcome) FILTER (WHERE role = 'cvx_nobody') AS nobody, max(outcome) FILTER (WHERE role = 'cvx_reader') AS reader,
       max(outcome) FILTER (WHERE role = 'cvx "odd" writer') AS writer, max(outcome) FILTER (WHERE role = 'cvx_admin') AS admin, statement
    FROM scratch.outcome GROUP BY n, statement ORDER BY n;

-- What an admin makes belongs to the extension's owner, and carries the writers' rights, not the readers'.
SET ROLE cvx_admin;
SELECT cvx.create_space('made', 2) IS NOT NULL AS made;
SELECT i.index_name FROM cvx.create_index('made') i;
RESET ROLE;
SELECT relname, relkind, pg_get_userbyid(relowner) = (SELECT pg_get_userbyid(extowner) FROM pg_extension WHERE extname = 'cvx') AS owner FROM pg_class
    WHERE relnamespace = 'cvx_space'::regnamespace AND relname LIKE 'made%' ORDER BY relname;
SELECT relname, r, p FROM pg_class c, unnest(ARRAY['cvx_nobody', 'cvx_reader', 'cvx "odd" writer', 'cvx_admin']) r, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p
    WHERE relnamespace = 'cvx_space'::regnamespace AND relkind = 'r' AND has_table_privilege(r, c.oid, p) ORDER BY 1, 2, 3;
SET ROLE "cvx ""odd"" writer";
COPY cvx_space.made (entity_id, ts, vec) FROM stdin;
e	2026-01-01	[1,2]
\.
RESET ROLE;
SET ROLE cvx_admin;
CALL pg_temp.raises($$SELECT cvx.drop_space('made')$$);
SELECT cvx.drop_space('made', cascade => true);
RESET ROLE;
-- Rights can be taken back; dropping a role takes them all.
REVOKE INSERT ON embedding FROM "cvx ""odd"" writer";
SELECT create_space('later', 2) IS NOT NULL AS made;
SELECT has_table_privilege('cvx "odd" writer', 'cvx_space.later', 'INSERT') AS insert, has_table_privilege('cvx "odd" writer', 'cvx_space.later', 'UPDATE') AS update;
DROP OWNED BY cvx_nobody, cvx_reader, "cvx ""odd"" writer", cvx_admin;
DROP ROLE cvx_nobody, cvx_reader, "cvx ""odd"" writer", cvx_admin;
SET client_min_messages = warning;
DROP SCHEMA scratch CASCADE;
RESET client_min_messages;
SELECT drop_space('before'), drop_space('after'), drop_space('later');
