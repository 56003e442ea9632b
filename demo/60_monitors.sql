-- A monitor fires: on a connection that listens, and at an HTTP receiver. Set by the caller: space, package, day, port.
\set ON_ERROR_STOP on
SET client_min_messages = warning;

\echo '  SELECT cvx.create_monitor(''turned'', ''{"type": "change_point_detected", "min_severity": 0.3}'','
\echo '      ''[{"type": "emit_event"}, {"type": "webhook_post", "url": "http://127.0.0.1:PORT/alerts", "secret": {"secret": "demo"}}]'','
\echo '      space => ''live'');'
\echo
SELECT cvx.create_space('live', 384) \g /dev/null
INSERT INTO cvx.embedding (space_id, entity_id, ts, vec, source)
SELECT cvx.space_id('live'), e.entity_id, e.ts, e.vec, 'demo'
FROM cvx.embedding e WHERE e.space_id = cvx.space_id(:'space') AND e.entity_id = :'package' AND e.ts < :'day';
SELECT cvx.create_secret('demo', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw') \g /dev/null
SELECT cvx.create_monitor('turned', '{"type": "change_point_detected", "min_severity": 0.3}',
    format('[{"type": "emit_event"}, {"type": "webhook_post", "url": "http://127.0.0.1:%s/alerts", "secret": {"secret": "demo"}}]',
        :'port')::jsonb, space => 'live') \g /dev/null

\echo 'Its releases since then are uploaded, one a transaction, while this session listens:'
\echo
LISTEN cvx_alert;
SELECT format('INSERT INTO cvx.embedding (space_id, entity_id, ts, vec, source)
    SELECT cvx.space_id(%L), e.entity_id, e.ts, e.vec, ''demo'' FROM cvx.embedding e
    WHERE e.space_id = cvx.space_id(%L) AND e.entity_id = %L AND e.ts = %L; ', 'live', :'space', :'package', e.ts)
FROM cvx.embedding e
WHERE e.space_id = cvx.space_id(:'space') AND e.entity_id = :'package' AND e.ts >= :'day'
ORDER BY e.ts \gexec
DO $$
BEGIN
    FOR i IN 1..200 LOOP
        EXIT WHEN EXISTS (SELECT FROM cvx.alert WHERE monitor = 'turned' AND deliveries @> '[{"status": "delivered"}]');
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$$;

\echo
\echo 'The same alert as a row (cvx.alert), with what became of its webhook:'
\echo
SELECT entity_id, ts::date AS "changed on", round(value::numeric, 2) AS severity,
       deliveries -> 0 ->> 'status' AS webhook, deliveries -> 0 ->> 'http_status' AS answer
FROM cvx.alert WHERE monitor = 'turned';
