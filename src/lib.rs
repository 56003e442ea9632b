//! cvx: trajectories of embeddings in PostgreSQL. DDL stands in sql/install, what it calls in functions/.

use pgrx::prelude::*;

mod align;
mod catalog;
mod error;
mod functions;
mod guc;
mod ingest;
mod monitors;
mod types;
mod views;
mod workers;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/install/00_schema.sql", name = "schema", bootstrap);
extension_sql_file!(
    "../sql/install/10_trajectory.sql",
    name = "trajectory",
    requires = ["schema"]
);
extension_sql_file!(
    "../sql/install/20_calculus.sql",
    name = "calculus",
    requires = ["trajectory"]
);
extension_sql_file!(
    "../sql/install/30_stats.sql",
    name = "stats",
    requires = ["calculus"]
);
extension_sql_file!(
    "../sql/install/40_changepoints.sql",
    name = "changepoints",
    requires = ["stats"]
);
extension_sql_file!(
    "../sql/install/42_bocpd.sql",
    name = "bocpd",
    requires = ["changepoints"]
);
extension_sql_file!(
    "../sql/install/43_significance.sql",
    name = "significance",
    requires = ["bocpd"]
);
extension_sql_file!(
    "../sql/install/50_plot.sql",
    name = "plot",
    requires = ["significance"]
);
extension_sql_file!("../sql/install/60_space.sql", name = "space", requires = ["plot"]);
extension_sql_file!(
    "../sql/install/62_model.sql",
    name = "model",
    requires = ["space"]
);
extension_sql_file!(
    "../sql/install/65_provenance.sql",
    name = "provenance",
    requires = ["model"]
);
extension_sql_file!(
    "../sql/install/66_align.sql",
    name = "align",
    requires = ["provenance"]
);
extension_sql_file!(
    "../sql/install/67_canonical.sql",
    name = "canonical",
    requires = ["align"]
);
extension_sql_file!(
    "../sql/install/68_space_report.sql",
    name = "space_report",
    requires = ["canonical"]
);
extension_sql_file!(
    "../sql/install/70_ingest.sql",
    name = "ingest",
    requires = ["space_report"]
);
extension_sql_file!(
    "../sql/install/72_source.sql",
    name = "source",
    requires = ["ingest"]
);
extension_sql_file!(
    "../sql/install/74_config.sql",
    name = "config",
    requires = ["source"]
);
extension_sql_file!("../sql/install/76_view.sql", name = "view", requires = ["config"]);
extension_sql_file!("../sql/install/77_watch.sql", name = "watch", requires = ["view"]);
extension_sql_file!(
    "../sql/install/78_point_in_time.sql",
    name = "point_in_time",
    requires = ["watch"]
);
extension_sql_file!(
    "../sql/install/79_watch_ddl.sql",
    name = "watch_ddl",
    requires = ["point_in_time"]
);
extension_sql_file!(
    "../sql/install/80_restore.sql",
    name = "restore",
    requires = ["watch_ddl"]
);
extension_sql_file!(
    "../sql/install/81_monitor.sql",
    name = "monitor",
    requires = ["restore"]
);
extension_sql_file!(
    "../sql/install/83_population_drift.sql",
    name = "population_drift",
    requires = ["restore"]
);
extension_sql_file!(
    "../sql/install/84_backtest.sql",
    name = "backtest",
    requires = ["monitor"]
);
extension_sql_file!(
    "../sql/install/90_grants.sql",
    name = "grants",
    requires = ["monitor"],
    finalize
);

#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    error::init();
    guc::init();
    workers::init();
}
