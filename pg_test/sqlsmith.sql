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
GRANT SELECT ON points, trajectories TO smith;
ALTER ROLE smith SET statement_timeout = '1s';
-- sqlsmith writes operators without their schema.
ALTER ROLE smith SET search_path = public, cvx;
