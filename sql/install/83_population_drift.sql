-- Whether the points of a space are of one population before and after.

CREATE FUNCTION cvx.population_drift(
    space text, baseline tstzrange, current tstzrange, method text DEFAULT 'centroid',
    OUT method text, OUT statistic float8, OUT p_value float8, OUT baseline_points bigint, OUT current_points bigint)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000000 ROWS 1
    AS 'MODULE_PATHNAME', 'population_drift_wrapper';

COMMENT ON FUNCTION cvx.population_drift(text, tstzrange, tstzrange, text) IS
    'compares the points of a space in two ranges of time. centroid: distance of the means in standard deviations '
    'of the population, less what sampling adds; mmd: unbiased squared maximum mean discrepancy under a Gaussian '
    'kernel of median width; psi: the largest population stability index of the five leading principal components '
    'of the baseline, in deciles. p_value: the probability of as much between two samples of one population; NULL '
    'for too few points (2 of each, psi: 20 and 10). Of many points a sample is compared that is the same each '
    'time; the counts are of all';
