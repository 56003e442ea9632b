-- The extension's own schemas. No IF NOT EXISTS: a schema that somebody else made first must not be adopted.

CREATE SCHEMA cvx;
COMMENT ON SCHEMA cvx IS 'trajectories of embeddings: types, functions and tables of the extension cvx';

CREATE SCHEMA cvx_space;
COMMENT ON SCHEMA cvx_space IS 'one partition of cvx.embedding for each space, named after it';

CREATE SCHEMA cvx_view;
COMMENT ON SCHEMA cvx_view IS 'views made by cvx.create_view, as they are read: what was computed, and since when it is out of date';
CREATE SCHEMA cvx_view_definition;
COMMENT ON SCHEMA cvx_view_definition IS 'for each of these views the query that it materializes';
CREATE SCHEMA cvx_view_data;
COMMENT ON SCHEMA cvx_view_data IS 'for each of these views the table that holds what was computed';
CREATE SCHEMA cvx_view_history;
COMMENT ON SCHEMA cvx_view_history IS 'for views with history the values of all times';
CREATE SCHEMA cvx_view_points;
COMMENT ON SCHEMA cvx_view_points IS 'for views with history the points that their values come from';
CREATE SCHEMA cvx_training;
COMMENT ON SCHEMA cvx_training IS 'training sets made by cvx.create_training_set';

-- From here on names resolve in pg_catalog and in the schema of pgvector alone, so that nothing that a user
-- put into a writable schema can stand in for what this script means.
SELECT pg_catalog.set_config(
    'search_path',
    pg_catalog.concat('pg_catalog, ', pg_catalog.quote_ident(n.nspname), ', pg_temp'),
    true)
FROM pg_catalog.pg_extension e
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace
WHERE e.extname OPERATOR(pg_catalog.=) 'vector';
