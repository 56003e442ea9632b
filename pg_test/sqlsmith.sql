-- The role of the random queries: it reads what cvx.grant_read opens, and owns nothing.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'smith') THEN CREATE ROLE smith LOGIN; END IF;
END $$;
SELECT cvx.grant_read('smith');
-- Enough rows to meet, few enough for a query a millisecond.
CREATE TABLE points AS
    SELECT entity_id, ts, vec, subvector(vec, 1, 3)::vector(3) AS short
    FROM cvx.embedding WHERE space_id = cvx.space_id('changelog-v1') AND entity_id IN ('six', 'jansson');
CREATE TABLE trajectories AS
    SELECT entity_id, cvx.trajectory_agg(ts, vec) AS t, cvx.trajectory_agg(ts, short) AS short FROM points GROUP BY 1
    UNION ALL VALUES ('empty', '{}'::cvx.trajectory, NULL::cvx.trajectory);
-- One text names a model, a version and a space, so that random arguments meet all three.
SELECT alignment_status FROM cvx.create_model('changelog-v1', 'changelog-v1', 'changelog-v1');
SELECT alignment_status FROM cvx.create_model('changelog-v1', 'changelog-v2', 'changelog-v2', 'changelog-v1');
CREATE TABLE names AS SELECT 'changelog-v1' AS name UNION ALL SELECT 'changelog-v2';
CREATE TABLE named AS SELECT p.*, n.name, 'points'::regclass AS relation, 'vec'::name AS vector_column FROM points p, names n;
GRANT SELECT ON points, trajectories, names, named TO smith;
ALTER ROLE smith SET statement_timeout = '1s';
-- sqlsmith writes operators without their schema.
ALTER ROLE smith SET search_path = public, cvx;
