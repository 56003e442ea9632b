-- A trajectory as SVG.
\set ECHO none
\getenv pg_test PG_ABS_SRCDIR
\set session :pg_test '/setup/session.sql'
\i :session
\set ECHO all

CREATE TABLE pictures (name text, svg text);
INSERT INTO pictures
    SELECT name, trajectory_svg(t) FROM (VALUES
        ('empty', '{}'::trajectory), ('one', '{[1,2]@2026-01-01}'), ('one dimension', '{[1]@2026-01-01, [2]@2026-01-02}'),
        ('still', '{[1,1]@2026-01-01, [1,1]@2026-01-02}'), ('huge', '{[3e38,-3e38]@2026-01-01, [-3e38,3e38]@2026-01-02}'),
        ('widest', '{[1,2]@4714-11-24 00:00:00+00 BC, [3,4]@294276-12-31 23:59:59.999999+00}')) v(name, t);
INSERT INTO pictures
    SELECT 'step', trajectory_svg(trajectory_agg('2026-01-01'::timestamptz + i * interval '1 day', ARRAY[i % 3 + CASE WHEN i > 30 THEN 40 ELSE 0 END, i % 2]::vector))
    FROM generate_series(1, 60) i;
INSERT INTO pictures SELECT 'title', trajectory_svg('{[1,2]@2026-01-01, [2,1]@2026-01-02}', '<b title="x">&amp; ''é'' ' || chr(1) || '</b>');
INSERT INTO pictures SELECT 'long title', trajectory_svg('{[1,2]@2026-01-01}', repeat('x', 100000));
-- Every one is well-formed XML that holds no NaN or infinity.
SELECT name, xpath_exists('/s:svg', svg::xml, ARRAY[ARRAY['s', 'http://www.w3.org/2000/svg']]) AS is_svg, svg ~ 'NaN|[^a-zA-Z]inf' AS broken_numbers FROM pictures;
SELECT (xpath('/s:svg/s:title/text()', svg::xml, ARRAY[ARRAY['s', 'http://www.w3.org/2000/svg']]))[1] FROM pictures WHERE name IN ('title', 'step');
SELECT svg ~ '60 points in 2 dimensions' AS summary, svg ~ '1 change point' AS marked, svg ~ '2026' AS dated FROM pictures WHERE name = 'step';
SELECT svg ~ 'empty trajectory' AS says_so FROM pictures WHERE name = 'empty';
SELECT octet_length(svg) < 10000 AS title_is_cut FROM pictures WHERE name = 'long title';
SELECT trajectory_svg(NULL) IS NULL AS "null", trajectory_svg('{[1]@2026-01-01}', NULL) = trajectory_svg('{[1]@2026-01-01}') AS no_title;
-- Change points on request; NULL is no.
SELECT trajectory_svg(t, changepoints => NULL) = trajectory_svg(t, changepoints => false) AS null_is_no,
       trajectory_svg(t, changepoints => true) = trajectory_svg(t) AS default_is_yes, trajectory_svg(t, changepoints => false) ~ 'change point' AS marked
    FROM (SELECT trajectory_agg('2026-01-01'::timestamptz + i * interval '1 day', ARRAY[i % 3 + CASE WHEN i > 30 THEN 40 ELSE 0 END, i % 2]::vector) AS t FROM generate_series(1, 60) i) s;
-- A picture does not depend on the session: dates are UTC's.
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
SELECT trajectory_svg('{[1,2]@2026-01-01, [2,1]@2026-01-02}', 'z') = svg AS same FROM
    (SELECT set_config('timezone', 'America/Lima', true), trajectory_svg('{[1,2]@2026-01-01 00:00+09, [2,1]@2026-01-02 00:00+09}', 'z') AS svg) s;
RESET datestyle;
SET timezone = 'UTC';
DROP TABLE pictures;
