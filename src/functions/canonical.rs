//! Trajectories over all versions of a model. DDL: sql/install/67_canonical.sql.

use cvx_math::boundary::Classification;
use cvx_plot::{Colouring, Mark, Plot};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::changepoints::{detect, options};
use crate::align::canonical::Canonical;
use crate::align::changes::changes;
use crate::types::TimestampTz;
use crate::types::trajectory::TrajectoryResult;
use crate::types::vector::VectorResult;

#[pg_extern(sql = false)]
fn canonical(
    entity_id: Option<&str>,
    model: Option<&str>,
    from_ts: Option<TimestampTz>,
    to_ts: Option<TimestampTz>,
) -> Result<Option<TrajectoryResult>, ErrorReport> {
    let (Some(entity_id), Some(model)) = (entity_id, model) else {
        return Ok(None);
    };
    let found = Canonical::gather(model, entity_id, from_ts, to_ts)?;
    if found.is_empty() {
        return Ok(None);
    }
    Ok(Some(TrajectoryResult::from_path(found.path())?))
}

#[pg_extern(sql = false)]
#[allow(
    clippy::type_complexity,
    reason = "pgrx reads the row type from the signature"
)]
fn canonical_trajectory(
    entity_id: Option<&str>,
    model: Option<&str>,
    from_ts: Option<TimestampTz>,
    to_ts: Option<TimestampTz>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(ts, TimestampTz),
            name!(vec, VectorResult),
            name!(original_space, Option<String>),
            name!(model_version, String),
            name!(alignment_residual, Option<f64>),
            name!(alignment_error, Option<f64>),
        ),
    >,
    ErrorReport,
> {
    let (Some(entity_id), Some(model)) = (entity_id, model) else {
        return Ok(TableIterator::empty());
    };
    let found = Canonical::gather(model, entity_id, from_ts, to_ts)?;
    let errors = found.errors(entity_id)?;
    let rows = (0..found.times.len()).map(move |place| {
        let version = &found.chain.versions[found.version[place]];
        (
            found.times[place],
            VectorResult::new(found.path().point(place)),
            version.space.clone(),
            version.version.clone(),
            found.residual(place),
            errors[place],
        )
    });
    Ok(TableIterator::new(rows))
}

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, reason = "the arguments of the SQL function")]
#[allow(
    clippy::type_complexity,
    reason = "pgrx reads the row type from the signature"
)]
fn model_changepoints(
    entity_id: Option<&str>,
    model: Option<&str>,
    from_ts: Option<TimestampTz>,
    to_ts: Option<TimestampTz>,
    method: Option<&str>,
    cost: Option<&str>,
    penalty: Option<f64>,
    min_size: Option<i32>,
    alpha: Option<f64>,
    gamma: Option<f64>,
    autocorrelated: Option<bool>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(ts, TimestampTz),
            name!(severity, f64),
            name!(classification, &'static str),
            name!(model_boundary, Option<TimestampTz>),
            name!(confidence, f64),
            name!(alignment_residual, Option<f64>),
            name!(alignment_error, Option<f64>),
            name!(source, Option<String>),
            name!(model_version, Option<String>),
            name!(pipeline_hash, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let arguments = (entity_id, model, method, cost, min_size, alpha, autocorrelated);
    let (
        Some(entity_id),
        Some(model),
        Some(method),
        Some(cost),
        Some(min_size),
        Some(alpha),
        Some(autocorrelated),
    ) = arguments
    else {
        return Ok(TableIterator::empty());
    };
    let options = options(method, cost, penalty, min_size, alpha, gamma, autocorrelated)?;
    let canonical = Canonical::gather(model, entity_id, from_ts, to_ts)?;
    let rows = changes(&canonical, entity_id, &options)?.into_iter().map(|it| {
        (
            it.ts,
            it.severity,
            match it.classification {
                Classification::RealChange => "real_change",
                Classification::ModelArtifact => "model_artifact",
            },
            it.model_boundary,
            it.confidence,
            it.residual,
            it.error,
            it.provenance.source,
            it.provenance.model_version,
            it.provenance.pipeline_hash,
        )
    });
    Ok(TableIterator::new(rows.collect::<Vec<_>>()))
}

#[pg_extern(sql = false)]
fn canonical_svg(
    entity_id: Option<&str>,
    model: Option<&str>,
    from_ts: Option<TimestampTz>,
    to_ts: Option<TimestampTz>,
    title: Option<&str>,
    changepoints: Option<bool>,
    aligned: Option<bool>,
) -> Result<Option<String>, ErrorReport> {
    let (Some(entity_id), Some(model)) = (entity_id, model) else {
        return Ok(None);
    };
    let found = Canonical::gather(model, entity_id, from_ts, to_ts)?;
    let (wanted, aligned) = (changepoints == Some(true), aligned != Some(false));
    let stored = if aligned { Vec::new() } else { found.as_stored()? };
    let mut path = found.path();
    if !aligned {
        path.values = &stored;
    }
    let options = super::plot::DEFAULTS;
    let marks: Vec<Mark> = if !wanted {
        Vec::new()
    } else if aligned {
        let mark = |it: crate::align::changes::Change| Mark {
            index: it.index,
            severity: it.severity,
            artifact: it.classification == Classification::ModelArtifact,
        };
        changes(&found, entity_id, &options)?
            .into_iter()
            .map(mark)
            .collect()
    } else {
        let mark = |it: cvx_math::changepoints::ChangePoint| Mark {
            index: it.index,
            severity: it.severity,
            artifact: false,
        };
        detect(path, &options)?.into_iter().map(mark).collect()
    };
    let names: Vec<&str> = found
        .chain
        .versions
        .iter()
        .map(|it| it.version.as_str())
        .collect();
    let of: Vec<u16> = found.version.iter().map(|&it| it as u16).collect();
    let plot = Plot {
        path,
        title,
        change_points: &marks,
        colouring: Colouring::Version {
            of: &of,
            names: &names,
        },
    };
    Ok(Some(plot.render()))
}
