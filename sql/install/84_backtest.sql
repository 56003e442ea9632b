-- What a monitor would have sent.

CREATE FUNCTION cvx.backtest_monitor(name text, from_ts timestamptz, to_ts timestamptz)
    RETURNS TABLE (
        fired_at timestamptz, entity_id text, ts timestamptz, value float8, threshold float8, p_value float8,
        severity text, message text)
    LANGUAGE c STABLE PARALLEL UNSAFE COST 1000000 ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'backtest_monitor_wrapper';
COMMENT ON FUNCTION cvx.backtest_monitor(text, timestamptz, timestamptz) IS
    'the alerts that a monitor would have raised had it run from from_ts to to_ts, with its interval or schedule, '
    'cooldown and false-discovery rate: in event time, over the points that there are now, as if each had come in '
    'time; nothing is written or sent';
