//! What a connector is opened with.

use crate::{Registered, Secrets, SharedProgress};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One run of a source.
#[derive(Debug, Clone)]
pub struct Request {
    /// Dimensions of the space.
    pub dims: usize,
    /// The model of the space: records that name another are rejected. None takes them all.
    pub registered: Option<Arc<Registered>>,
    pub work: Work,
    /// Where each part of the source was left, as its last committed [`crate::Position`] says.
    pub watermark: BTreeMap<String, Value>,
    pub limits: Limits,
    pub secrets: Secrets,
    pub progress: SharedProgress,
    pub stop: Stop,
}

/// What to read.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// What is new since the watermark.
    Incremental,
    /// Everything, whatever the watermark says. Positions are still delivered.
    Full,
    /// The records at these positions, as they stand in the rejects of earlier runs, and nothing else. No positions are
    /// delivered; a record that is not there any more is rejected anew as [`crate::RejectReason::Gone`]. Each position
    /// asked for is answered exactly once: by a record or by a reject under the same position.
    Replay(Vec<String>),
}

/// When a batch is full: whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub rows: usize,
    pub bytes: usize,
    /// Since the first record in it.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rows: 10_000,
            bytes: 8 << 20,
            linger: Duration::from_millis(250),
        }
    }
}

/// Tells a connector to stop at the next occasion.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
