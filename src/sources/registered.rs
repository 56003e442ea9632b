//! The model that a space is registered for, and the rows that name another.

use crate::{Record, RejectReason};

/// Which model version makes the vectors of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    pub version: String,
    /// Not compared when it is not known.
    pub hash: Option<String>,
}

impl Registered {
    /// Refuses a record that names another version or hash; one that names none is not judged.
    pub fn check(&self, record: &Record<'_>) -> Result<(), RejectReason> {
        let differs = |field, named: Option<&str>, registered: Option<&str>| match (named, registered) {
            (Some(named), Some(registered)) if named != registered => Err(RejectReason::ModelMismatch {
                field,
                named: named.to_owned(),
                registered: registered.to_owned(),
            }),
            _ => Ok(()),
        };
        differs("model_version", record.model_version, Some(&self.version))?;
        differs("model_hash", record.model_hash, self.hash.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_another_model_is_refused() {
        let registered = Registered {
            version: "v1".into(),
            hash: Some("aa".into()),
        };
        let record = |model_version, model_hash| Record {
            model_version,
            model_hash,
            ..Record::default()
        };
        for taken in [
            record(None, None),
            record(Some("v1"), None),
            record(Some("v1"), Some("aa")),
        ] {
            assert_eq!(registered.check(&taken), Ok(()));
        }
        let refused = registered.check(&record(Some("v2"), Some("aa"))).unwrap_err();
        assert_eq!(refused.code(), "model_mismatch");
        assert_eq!(
            refused.to_string(),
            "model_version is \"v2\", the space is registered for \"v1\""
        );
        assert!(registered.check(&record(Some("v1"), Some("ab"))).is_err());
        let unhashed = Registered {
            hash: None,
            ..registered
        };
        assert_eq!(unhashed.check(&record(Some("v1"), Some("ab"))), Ok(()));
    }
}
