//! The tree of a model's versions, and the path between two of them.

use pgrx::pg_sys::panic::ErrorReport;

use crate::catalog::alignment::Direction;
use crate::catalog::model::{self, Version};
use crate::error::Error;

/// All versions of a model, the first one first.
pub struct Chain {
    pub model: String,
    pub versions: Vec<Version>,
    /// For each version, its predecessor's place.
    predecessor: Vec<Option<usize>>,
}

/// One alignment of a path, in the direction in which it is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The version whose alignment to its predecessor it is.
    pub version: usize,
    pub direction: Direction,
}

impl Chain {
    pub fn of_model(model: &str) -> Result<Chain, ErrorReport> {
        let versions = model::versions(model)?;
        let place = |name: &String| versions.iter().position(|it| it.version == *name);
        let predecessor = versions
            .iter()
            .map(|it| it.predecessor.as_ref().and_then(place))
            .collect();
        Ok(Chain {
            model: model.to_owned(),
            versions,
            predecessor,
        })
    }

    /// The version with this name, or the error that there is none.
    pub fn version(&self, name: &str) -> Result<usize, Error> {
        let found = self.versions.iter().position(|it| it.version == name);
        found.ok_or_else(|| Error::UnknownVersion {
            model: self.model.clone(),
            version: name.to_owned(),
        })
    }

    pub fn predecessor(&self, version: usize) -> Option<usize> {
        self.predecessor[version]
    }

    /// From a version to the first one, both included. No statement of cvx makes a cycle; an UPDATE by hand may.
    fn ancestry(&self, version: usize) -> Result<Vec<usize>, Error> {
        let mut path = vec![version];
        let mut at = version;
        while let Some(before) = self.predecessor[at] {
            if path.contains(&before) {
                return Err(Error::PredecessorCycle {
                    model: self.model.clone(),
                    version: self.versions[before].version.clone(),
                });
            }
            path.push(before);
            at = before;
        }
        Ok(path)
    }

    /// How many alignments lie between a version and the canonical frame.
    pub fn depth(&self, version: usize) -> Result<usize, Error> {
        Ok(self.ancestry(version)?.len() - 1)
    }

    /// The alignments from one version to another, in order; an error when one of them has no map.
    pub fn path(&self, from: usize, to: usize) -> Result<Vec<Step>, Error> {
        let (up, down) = (self.ancestry(from)?, self.ancestry(to)?);
        let meeting = up.iter().find(|it| down.contains(it));
        let until = |it: &&usize| Some(*it) != meeting;
        let forward = up.iter().take_while(until).map(|&version| Step {
            version,
            direction: Direction::Forward,
        });
        let mut steps: Vec<Step> = forward.collect();
        let mut backward: Vec<Step> = down
            .iter()
            .take_while(until)
            .map(|&version| Step {
                version,
                direction: Direction::Backward,
            })
            .collect();
        backward.reverse();
        steps.append(&mut backward);
        match steps
            .iter()
            .find(|it| self.versions[it.version].revision.is_none())
        {
            None => Ok(steps),
            Some(missing) => Err(self.not_aligned(missing.version)),
        }
    }

    pub fn not_aligned(&self, version: usize) -> Error {
        let it = &self.versions[version];
        Error::NotAligned {
            model: self.model.clone(),
            version: it.version.clone(),
            predecessor: it.predecessor.clone().unwrap_or_default(),
            status: it.status.clone().unwrap_or_else(|| String::from("pending")),
        }
    }
}
