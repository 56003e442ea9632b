-- The extension's own schemas. No IF NOT EXISTS: a schema that somebody else made first must not be adopted.

CREATE SCHEMA cvx;
COMMENT ON SCHEMA cvx IS 'trajectories of embeddings: types, functions and tables of the extension cvx';

CREATE SCHEMA cvx_space;
COMMENT ON SCHEMA cvx_space IS 'one partition of cvx.embedding for each space, named after it';

-- From here on names resolve in pg_catalog and in the schema of pgvector alone, so that nothing that a user
-- put into a writable schema can stand in for what this script means.
SELECT pg_catalog.set_config(
    'search_path',
    pg_catalog.concat('pg_catalog, ', pg_catalog.quote_ident(n.nspname), ', pg_temp'),
    true)
FROM pg_catalog.pg_extension e
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace
WHERE e.extname OPERATOR(pg_catalog.=) 'vector';
