-- One package: its change points, with the release that triggered each and what made that embedding.
-- Set by the caller: package, space.
\set ON_ERROR_STOP on
SELECT format('%s has %s releases here, from %s to %s. Its change points:', package, releases, from_day, to_day) AS text
FROM demo_moved WHERE package = :'package' \gset
\echo :text
\echo

SELECT c.index AS "after release no.", c.ts::date AS "first after the break", p.attrs->>'version' AS version,
       round(c.severity::numeric, 2) AS severity, round(vector_norm(c.shift)::numeric, 2) AS shift,
       p.source, p.model_version, left(p.input_hash, 12) AS input_hash, left(p.pipeline_hash, 12) AS pipeline_hash
FROM cvx.changepoints(cvx.trajectory(:'package', :'space')) AS c,
     cvx.provenance(:'package', :'space', c.ts, c.ts) AS p
ORDER BY c.index;

\echo 'Do the two retrained models, whose vectors cannot be compared with the first one''s, see the same breaks?'
\echo
SELECT s.name AS space,
       coalesce(string_agg(format('%s (%s)', c.ts::date, round(c.severity::numeric, 2)), ', ' ORDER BY c.ts), 'none')
           AS "breaks (severity)"
FROM cvx.space s LEFT JOIN LATERAL cvx.changepoints(cvx.trajectory(:'package', s.name)) AS c ON true
GROUP BY s.name ORDER BY s.name;
