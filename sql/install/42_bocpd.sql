-- The state of online change-point detection.

CREATE DOMAIN cvx.bocpd_state AS bytea;
COMMENT ON DOMAIN cvx.bocpd_state IS 'what is known of a series of points: enough to judge the next one';
