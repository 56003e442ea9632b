-- Derivatives and lengths.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all

CREATE TABLE cases (name text, t trajectory);
INSERT INTO cases VALUES
    ('null', NULL),
    ('empty', '{}'),
    ('one', '{[1,2]@2026-01-01}'),
    ('two', '{[1,0]@2026-01-01, [4,4]@2026-01-03}'),
    ('three', '{[1,0]@2026-01-01, [4,4]@2026-01-03, [4,0]@2026-01-04}'),
    ('straight', '{[1,1]@2026-01-01, [2,2]@2026-01-02, [3,3]@2026-01-03, [4,4]@2026-01-04}'),
    ('still', '{[1,2]@2026-01-01, [1,2]@2026-01-02, [1,2]@2026-01-05}'),
    ('zeros', '{[0,0]@2026-01-01, [0,0]@2026-01-02}'),
    ('loop', '{[1,0]@2026-01-01, [0,1]@2026-01-02, [1,0]@2026-01-03}'),
    ('opposite', '{[1,0]@2026-01-01, [-1,0]@2026-01-02}'),
    ('tiny', '{[1e-45]@2026-01-01, [4e-45]@2026-01-01 00:00:00.000001}'),
    ('huge', '{[3e38,-3e38]@2026-01-01, [-3e38,3e38]@2026-01-02, [3e38,3e38]@2026-01-03}'),
    ('widest', '{[1,2]@4714-11-24 00:00:00+00 BC, [3,4]@2026-01-01, [3,5]@294276-12-31 23:59:59.999999+00}');

SELECT name, path_length(t)::float4, pg_temp.r6(efficiency(t)) AS efficiency, mean_speed(t)::float4, mean_speed(t, '1 hour')::float4 AS per_hour FROM cases
    WHERE name NOT IN ('tiny', 'huge');
SELECT name, (path_length(t) / 1e38)::float4 AS length_1e38, efficiency(t)::float4, (mean_speed(t) / 1e38)::float4 AS speed_1e38 FROM cases WHERE name = 'huge';
SELECT name, (path_length(t) * 1e45)::float4 AS length, efficiency(t)::float4, (mean_speed(t) * 1e34)::float4 AS speed FROM cases WHERE name = 'tiny';

SELECT name, pg_temp.r6(velocity(t)) AS "default", pg_temp.r6(velocity(t, '2026-01-01')) AS at_start, pg_temp.r6(velocity(t, '2026-01-03', '2 days')) AS two_days,
       pg_temp.r6(speed(t)) AS speed, pg_temp.r6(acceleration(t)) AS acceleration
    FROM cases WHERE name NOT IN ('tiny', 'huge');
SELECT velocity(t, unit => '1 microsecond'), (speed(t, unit => '1 microsecond') * 1e45)::float4 AS speed FROM cases WHERE name = 'tiny';

-- numpy.gradient([1, 4, 4], [0, 2, 3]) is [1.5, 0.5, 0], numpy.gradient([0, 4, 0], [0, 2, 3]) is [2, -2, -4].
SELECT p.ts, velocity(t, p.ts), pg_temp.r6(speed(t, p.ts)), acceleration(t, p.ts) FROM cases, points(t) p WHERE name = 'three';
-- The nearest point; of two as near, the earlier.
SELECT ts, velocity(t, ts) FROM cases, unnest(ARRAY['-infinity', '1000-01-01 BC', '2026-01-02 00:00:00', '2026-01-02 00:00:01', '2026-01-03 12:00:00',
    '2030-01-01', '294276-12-31', 'infinity']::timestamptz[]) ts WHERE name = 'three';
-- Units: a month is 30 days, as PostgreSQL compares intervals.
SELECT unit, velocity(t, '2026-01-01', unit), mean_speed(t, unit)::float4 FROM cases,
    unnest(ARRAY['1 day', '24 hours', '12 hours', '1 week', '1 month', '30 days', '1 year', '1 day -23 hours']::interval[]) unit WHERE name = 'straight';

-- NULL arguments: at means the end, a NULL unit gives NULL.
SELECT velocity(t, NULL), velocity(t, NULL, NULL), speed(t, NULL, NULL), acceleration(t, NULL, NULL), mean_speed(t, NULL) FROM cases WHERE name = 'straight';
SELECT velocity(NULL), speed(NULL), acceleration(NULL), mean_speed(NULL), path_length(NULL::trajectory), efficiency(NULL);

CALL pg_temp.raises($$SELECT velocity(t, unit => '0') FROM cases WHERE name = 'straight'$$);
CALL pg_temp.raises($$SELECT speed(t, unit => '-1 day') FROM cases WHERE name = 'straight'$$);
CALL pg_temp.raises($$SELECT acceleration(t, unit => '1 day -24 hours') FROM cases WHERE name = 'straight'$$);
CALL pg_temp.raises($$SELECT mean_speed(t, '-1 month') FROM cases WHERE name = 'straight'$$);
CALL pg_temp.raises($$SELECT mean_speed('{}', '0')$$);
CALL pg_temp.raises($$SELECT velocity(t, unit => '1 year') FROM cases WHERE name = 'huge'$$);
CALL pg_temp.raises($$SELECT acceleration('{[1e38]@2026-01-01 00:00:00, [2e38]@2026-01-01 00:00:01, [-1e38]@2026-01-01 00:00:02}')$$);
CALL pg_temp.raises($$SELECT velocity('[1,2]'::vector)$$);
DROP TABLE cases;
