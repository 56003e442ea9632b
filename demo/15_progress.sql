-- Reads one of the files again, in small steps, and looks at it from here while the worker goes on.
\set ON_ERROR_STOP on
SELECT cvx.alter_source('changelog-v1', config => config || '{"batch_rows": 10}')
FROM cvx.source WHERE name = 'changelog-v1' \g /dev/null
SELECT cvx.sync_source('changelog-v1', "full" => true) \g /dev/null

DO $$
BEGIN
    FOR i IN 1..600 LOOP
        EXIT WHEN EXISTS (SELECT FROM cvx.stat_progress_sync WHERE tuples_processed > 300);
        PERFORM pg_sleep(0.005);
    END LOOP;
END
$$;
SELECT pid, source, command, phase, tuples_processed, tuples_total, bytes_processed, bytes_total
FROM cvx.stat_progress_sync;
SELECT pid, role, database, state, current_work FROM cvx.workers ORDER BY role DESC;

DO $$
BEGIN
    FOR i IN 1..1200 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM cvx.sources WHERE state <> 'waiting');
        PERFORM pg_sleep(0.05);
    END LOOP;
END
$$;
