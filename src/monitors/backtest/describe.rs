//! What an alert says, in the words of an evaluation.

use super::{Episode, Subject};
use crate::catalog::monitor::Monitor;
use crate::monitors::condition::Condition;
use crate::monitors::trend::Measure;
use crate::monitors::{quality, silence};

/// What the values of a drift or velocity condition are, in SQL.
pub fn measure(condition: &Condition) -> Option<Measure> {
    match condition {
        Condition::Drift {
            threshold,
            window,
            metric,
            fdr,
        } => Some(Measure::drift(*threshold, *window, metric, *fdr)),
        Condition::Velocity {
            threshold,
            window,
            fdr,
        } => Some(Measure::velocity(*threshold, *window, *fdr)),
        _ => None,
    }
}

/// Thresholds and messages of one monitor.
pub struct Words<'a> {
    monitor: &'a Monitor,
    condition: &'a Condition,
    measure: Option<Measure>,
}

impl<'a> Words<'a> {
    pub fn new(monitor: &'a Monitor, condition: &'a Condition) -> Self {
        Words {
            monitor,
            condition,
            measure: measure(condition),
        }
    }

    pub fn threshold(&self) -> f64 {
        match self.condition {
            Condition::Drift { threshold, .. }
            | Condition::Velocity { threshold, .. }
            | Condition::RejectRatio { threshold, .. }
            | Condition::Population { threshold, .. } => *threshold,
            Condition::Silence { duration, .. } | Condition::Freshness { duration, .. } => {
                *duration as f64 / 1e6
            }
            Condition::ChangePoint { min_severity, .. } => *min_severity,
            Condition::Query { .. } => 0.0,
        }
    }

    pub fn message(&self, subject: &Subject, episode: &Episode, value: f64) -> String {
        match (self.condition, subject) {
            (Condition::Silence { duration, source }, Subject::Entity(id)) => {
                silence::message(id, source.as_deref(), value, *duration)
            }
            (_, Subject::Entity(id)) => {
                let words = self.measure.as_ref().map(|it| it.message(id, value));
                words.unwrap_or_default()
            }
            (condition, Subject::Of { space, source }) => {
                self.of_data(condition, episode, value, (space.as_deref(), source.as_deref()))
            }
        }
    }

    fn of_data(
        &self,
        condition: &Condition,
        episode: &Episode,
        value: f64,
        (space, source): (Option<&str>, Option<&str>),
    ) -> String {
        match condition {
            Condition::RejectRatio {
                threshold, window, ..
            } => {
                let source = source.unwrap_or_default();
                quality::rejects_message(source, episode.records, *window, *threshold)
            }
            Condition::Population {
                method,
                threshold,
                window,
                ..
            } => {
                let space = space.unwrap_or_default();
                quality::population_message(space, method, value, *window, *threshold)
            }
            Condition::Freshness { duration, .. } => {
                let what = match (source, space, &self.monitor.declared.model) {
                    (Some(source), ..) => format!("source {source}"),
                    (None, Some(space), _) => format!("space {space}"),
                    (None, None, model) => format!("model {}", model.as_deref().unwrap_or_default()),
                };
                quality::staleness_message(&what, value, *duration)
            }
            _ => String::new(),
        }
    }
}
