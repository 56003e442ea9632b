-- Drift against noise, populations, and what a monitor would have sent.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all

-- Of noise about one point, then of a walk away from it.
CREATE TABLE walks AS
    SELECT slope, trajectory_agg('2026-01-01'::timestamptz + i * interval '1 day',
        ARRAY[1 + slope * i + sin(i * i), 2 + cos(7.0 * i * i), sin(3.0 * i * i)]::vector) AS t
    FROM unnest(ARRAY[0, 0.2, 1]) slope, generate_series(1, 25) i GROUP BY 1;
SELECT slope, pg_temp.r6(drift_p_value(t, 'l2')) AS l2, pg_temp.r6(drift_p_value(t)) AS cosine, pg_temp.r6(velocity_p_value(t)) AS step
FROM walks ORDER BY 1;
-- Four points are enough, three are not; what does not move, or only at its end; a point without direction.
SELECT drift_p_value(slice(t, NULL, '2026-01-04'), 'l2') IS NULL AS three, pg_temp.r6(drift_p_value(slice(t, NULL, '2026-01-05'), 'l2')) AS four
FROM walks WHERE slope = 0;
SELECT drift_p_value('{[1,1]@2026-01-01, [1,1]@2026-01-02, [1,1]@2026-01-03, [1,1]@2026-01-04}') AS still,
    drift_p_value('{[1,1]@2026-01-01, [1,1]@2026-01-02, [1,1]@2026-01-03, [1,2]@2026-01-04}') AS moved,
    velocity_p_value('{[1,1]@2026-01-01, [1,1]@2026-01-02, [1,1]@2026-01-03, [1,2]@2026-01-04}') AS step,
    drift_p_value('{[1,1]@2026-01-01, [0,0]@2026-01-02, [1,1]@2026-01-03, [1,2]@2026-01-04}') AS zero;
CALL pg_temp.raises('SELECT drift_p_value(t, ''manhattan'') FROM walks');

-- Two months alike, and a third that lies elsewhere.
SELECT create_space('populated', 3) > 0 AS made;
INSERT INTO cvx_space.populated (entity_id, ts, vec)
    SELECT 'e' || e, '2026-01-01'::timestamptz + d * interval '1 day',
        ARRAY[10 + sin(e * e + 11 * d) + CASE WHEN d < 60 THEN 0 ELSE 2 END, cos(3.0 * e * e + d * d), sin(5.0 * e * d)]::vector
    FROM generate_series(1, 8) e, generate_series(0, 89) d;
SELECT method, pg_temp.r6(statistic) AS statistic, pg_temp.r6(p_value) AS p_value, baseline_points, current_points
FROM unnest(ARRAY['centroid', 'mmd', 'psi']) m, population_drift('populated', '[2026-01-01,2026-01-31)', '[2026-01-31,2026-03-02)', m);
SELECT method, statistic > 0.2 AS moved, pg_temp.r6(p_value) AS p_value, baseline_points, current_points
FROM unnest(ARRAY['centroid', 'mmd', 'psi']) m, population_drift('populated', '(,2026-03-02)', '[2026-03-02,)', m);
SELECT * FROM population_drift('populated', '[2025-01-01,2025-02-01)', '[2026-01-01,2026-01-02)');
SELECT * FROM population_drift('populated', NULL, '[2026-01-01,2026-01-02)');
CALL pg_temp.raises('SELECT population_drift(''populated'', ''[2026-01-01,2026-02-01]'', ''[2026-02-01,)'')');
CALL pg_temp.raises('SELECT population_drift(''populated'', ''empty'', ''[2026-02-01,)'')');
CALL pg_temp.raises('SELECT population_drift(''populated'', ''[2026-01-01,)'', ''[2026-02-01,2026-02-01)'')');
CALL pg_temp.raises('SELECT population_drift(''populated'', ''[2026-01-01,2026-02-01)'', ''[2026-02-01,)'', ''ks'')');
CALL pg_temp.raises('SELECT population_drift(''nowhere'', ''[2026-01-01,2026-02-01)'', ''[2026-02-01,)'')');

-- Silence from one point to the next, and after the last; no second alert within the cooldown.
SELECT create_space('sparse', 2) > 0 AS made;
INSERT INTO cvx_space.sparse (entity_id, ts, vec) VALUES
    ('a', '2026-01-01', '[1,0]'), ('a', '2026-01-02', '[1,0.1]'), ('a', '2026-01-06', '[0,1]'), ('b', '2026-01-03 12:00', '[1,1]');
-- Paused before anybody looks at them by the clock.
BEGIN;
SELECT create_monitor('silent', '{"type": "silence_exceeds", "duration": "2 days"}', '{"type": "log"}', space => 'sparse', check_interval => '1 day', cooldown => '2 days') > 0 AS made;
SELECT pause_monitor('silent');
COMMIT;
SELECT fired_at, entity_id, ts, value, threshold, p_value, severity, message FROM backtest_monitor('silent', '2026-01-01', '2026-01-10');
-- The same evidence once, however long it stands; checked at noon of weekdays: the 6th is a Tuesday.
BEGIN;
SELECT create_monitor('far', '{"type": "drift_exceeds", "threshold": 0.5, "window": "7 days"}', '{"type": "log"}', space => 'sparse', schedule => '0 12 * * 1-5', cooldown => '0', severity => 'high') > 0 AS made;
SELECT pause_monitor('far');
COMMIT;
SELECT fired_at, entity_id, ts, pg_temp.r6(value) AS value, threshold, p_value, severity, message FROM backtest_monitor('far', '2026-01-01', '2026-01-20');
SELECT count(*) FROM backtest_monitor('far', '2025-01-01', '2025-02-01');
BEGIN;
SELECT create_monitor('shifted', '{"type": "population_drift_exceeds", "method": "centroid", "threshold": 0.5, "baseline": "30 days", "window": "5 days"}', '{"type": "log"}', space => 'populated', check_interval => '5 days', cooldown => '10 days') > 0 AS made;
SELECT pause_monitor('shifted');
COMMIT;
SELECT fired_at, entity_id, pg_temp.r6(value) AS value, pg_temp.r6(p_value) AS p_value, message FROM backtest_monitor('shifted', '2026-02-10', '2026-03-30');
CALL pg_temp.raises('SELECT backtest_monitor(''silent'', ''2026-01-10'', ''2026-01-01'')');
CALL pg_temp.raises('SELECT backtest_monitor(''silent'', ''-infinity'', ''2026-01-01'')');
CALL pg_temp.raises('SELECT backtest_monitor(''silent'', NULL, ''2026-01-01'')');
CALL pg_temp.raises('SELECT backtest_monitor(''nothing'', ''2026-01-01'', ''2026-01-10'')');
SELECT alter_monitor('silent', check_interval => '1 second');
CALL pg_temp.raises('SELECT backtest_monitor(''silent'', ''2026-01-01'', ''2026-01-20'')');
CALL pg_temp.raises('SELECT cvx.backtest_monitor(''shifted'', ''2000-01-01'', ''2026-01-20'')');
SELECT count(*) FROM cvx.alert;

SELECT drop_monitor(m) FROM unnest(ARRAY['silent', 'far', 'shifted']) m;
SELECT drop_space(s, cascade => true) FROM unnest(ARRAY['populated', 'sparse']) s;
DROP TABLE walks;
