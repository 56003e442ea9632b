-- Every package's trajectory in one pass, its change points, and how it moved otherwise. Set by the caller: space.
\set ON_ERROR_STOP on
CREATE TABLE IF NOT EXISTS demo_moved AS
WITH trajectories AS MATERIALIZED (
    SELECT entity_id AS package, cvx.trajectory_agg(ts, vec) AS t
    FROM cvx.embedding
    WHERE space_id = cvx.space_id(:'space')
    GROUP BY entity_id
)
SELECT package,
       cvx.num_points(t) AS releases,
       cvx.start_ts(t)::date AS from_day,
       cvx.end_ts(t)::date AS to_day,
       c.breaks,
       c.strongest_at,
       c.severity,
       c.shift,
       cvx.drift(t) AS drift,
       cvx.mean_speed(t, '365 days') AS speed_per_year,
       cvx.stability_score(t) AS stability
FROM trajectories, LATERAL (
    SELECT count(*) AS breaks,
           (array_agg(ts::date ORDER BY severity DESC))[1] AS strongest_at,
           max(severity) AS severity,
           (array_agg(vector_norm(shift) ORDER BY severity DESC))[1] AS shift
    FROM cvx.changepoints(t)) AS c;

SELECT format(
    'Of %s packages, %s changed what their releases are about. The strongest break: %s, '
    'on %s.',
    count(*), count(*) FILTER (WHERE breaks > 0),
    (array_agg(package ORDER BY severity DESC NULLS LAST))[1],
    (array_agg(strongest_at ORDER BY severity DESC NULLS LAST))[1]) AS text
FROM demo_moved \gset
\echo :text
\echo

SELECT package, releases, from_day AS "from", to_day AS "to", breaks, strongest_at AS strongest,
       round(severity::numeric, 2) AS severity, round(shift::numeric, 2) AS shift,
       round(drift::numeric, 2) AS drift, round(speed_per_year::numeric, 1) AS "speed/year",
       round(stability::numeric, 2) AS stability
FROM demo_moved
ORDER BY severity DESC NULLS LAST, drift DESC;
