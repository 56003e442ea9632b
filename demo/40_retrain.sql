-- A retrain in the middle of history: what it does to change points, and what cvx makes of it. Set by the caller:
-- package, retrain (a date).
\set ON_ERROR_STOP on
SET client_min_messages = warning;

-- The old encoder until that day, the new one after it. Of every other package the new encoder has also embedded what
-- was there before: the overlap. The packages that are looked at below are not among them.
CREATE TABLE demo_overlap AS
SELECT entity_id AS package, row_number() OVER (ORDER BY entity_id) % 2 = 0 AND entity_id <> :'package' AS overlaps
FROM cvx.embedding WHERE space_id = cvx.space_id('changelog-v1') GROUP BY entity_id;

SELECT cvx.create_space('encoder-1', 384, 'the encoder until the retrain') \g /dev/null
SELECT cvx.create_space('encoder-2', 384, 'the encoder after it') \g /dev/null
INSERT INTO cvx.embedding (space_id, entity_id, ts, vec, source, model_version, input_hash, pipeline_hash)
SELECT cvx.space_id('encoder-1'), entity_id, ts, vec, source, model_version, input_hash, pipeline_hash
FROM cvx.embedding WHERE space_id = cvx.space_id('changelog-v1') AND ts < :'retrain';
INSERT INTO cvx.embedding (space_id, entity_id, ts, vec, source, model_version, input_hash, pipeline_hash)
SELECT cvx.space_id('encoder-2'), e.entity_id, e.ts, e.vec, e.source, e.model_version, e.input_hash, e.pipeline_hash
FROM cvx.embedding e JOIN demo_overlap o ON o.package = e.entity_id
WHERE e.space_id = cvx.space_id('changelog-v2') AND (e.ts >= :'retrain' OR o.overlaps);
ANALYZE cvx.embedding;

\echo 'Two lines tell cvx what happened:'
\echo
\echo '  SELECT * FROM cvx.create_model(''encoder'', ''minilm-v1'', ''encoder-1'');'
\echo '  SELECT * FROM cvx.create_model(''encoder'', ''minilm-v2'', ''encoder-2'', predecessor => ''minilm-v1'');'
\echo
SELECT * FROM cvx.create_model('encoder', 'minilm-v1', 'encoder-1') \g /dev/null
SELECT version, alignment_status, overlap_entities
FROM cvx.create_model('encoder', 'minilm-v2', 'encoder-2', predecessor => 'minilm-v1');
\echo 'Fewer than 100 entities overlap, so it says low_confidence. Of the three maps, auto takes the one that does'
\echo 'best on packages which the fit has not seen:'
\echo
SELECT method, overlap_entities AS overlap, pairs, round(mean_residual::numeric, 3) AS mean_residual,
       round(p95_residual::numeric, 3) AS p95_residual, round(mean_cosine::numeric, 3) AS mean_cosine,
       round(recall_at_10::numeric, 2) AS recall_at_10, confidence
FROM cvx.align('encoder', 'minilm-v2', 'auto');

\echo 'From now on the wrong encoder cannot slip in:'
DO $$
BEGIN
    INSERT INTO cvx.embedding (space_id, entity_id, ts, vec, model_version)
    SELECT cvx.space_id('encoder-1'), 'a-package', now(), e.vec, e.model_version
    FROM cvx.embedding e WHERE e.space_id = cvx.space_id('encoder-2') LIMIT 1;
EXCEPTION WHEN check_violation THEN
    CREATE TEMP TABLE demo_refused AS SELECT sqlerrm AS message;
END
$$;
SELECT format('  INSERT of a minilm-v2 vector into encoder-1:  ERROR:  %s', message) AS text FROM demo_refused \gset
\echo :text
\echo

CREATE TABLE demo_retrain AS
WITH judged AS (
    SELECT o.package,
           cvx.trajectory(o.package, 'encoder-1') OPERATOR(cvx.||) cvx.trajectory(o.package, 'encoder-2') AS stitched,
           cvx.trajectory(o.package, 'changelog-v1') AS never_retrained,
           (SELECT min(e.ts) FROM cvx.embedding e
            WHERE e.space_id = cvx.space_id('encoder-2') AND e.entity_id = o.package) AS boundary
    FROM demo_overlap o WHERE NOT o.overlaps
)
SELECT j.package, j.boundary, m.classification, m.confidence,
       EXISTS (SELECT FROM cvx.changepoints(j.stitched) c WHERE c.ts = j.boundary) AS false_alarm,
       EXISTS (SELECT FROM cvx.changepoints(j.never_retrained) c WHERE c.ts = j.boundary) AS truth,
       ARRAY(SELECT c.ts::date FROM cvx.model_changepoints(j.package, 'encoder') c
             WHERE c.classification = 'real_change' ORDER BY c.ts) AS changes,
       ARRAY(SELECT c.ts::date FROM cvx.changepoints(j.never_retrained) c ORDER BY c.ts) AS truly
FROM judged j JOIN LATERAL cvx.model_changepoints(j.package, 'encoder') m ON m.model_boundary = j.boundary
WHERE cvx.num_points(j.stitched) IS NOT NULL;

SELECT format('A break at the retrain: without alignment in %s of %s packages; after it, called a real change, in %s: %s.',
    count(*) FILTER (WHERE false_alarm), count(*), count(*) FILTER (WHERE classification = 'real_change'),
    coalesce(string_agg(package, ', ') FILTER (WHERE classification = 'real_change'), 'none')) AS text
FROM demo_retrain \gset
\echo :text
\echo
SELECT package, boundary::date AS "first after", CASE WHEN false_alarm THEN 'break' ELSE '-' END AS unaligned,
       classification AS "cvx says", round(confidence::numeric, 2) AS confidence,
       CASE WHEN truth THEN 'break' ELSE '-' END AS "old encoder all along",
       cardinality(changes) AS changes, cardinality(truly) AS "changes, old encoder"
FROM demo_retrain ORDER BY classification DESC, package;
