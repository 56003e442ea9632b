//! From the names a user gives to the columns of one file. Done for every file, since the files of a folder
//! may differ.

use super::kind::{self, Scalar};
use super::{Config, Error};
use ::parquet::basic::Type as Physical;
use ::parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};
use std::path::Path;

const KEYS: &str = "string, integer, UUID, or binary that is UTF-8";
const TIMES: &str = "timestamp, date, integer since 1970 (s, ms, us or ns), or ISO 8601 string";
const VECTORS: &str = "list, large_list or fixed_size_list of float32, float64 or float16";
const ATTRS: &str = "string, integer, float, boolean, UUID, timestamp or date";

/// A flat column.
#[derive(Debug, Clone)]
pub(super) struct ScalarColumn {
    /// The index among the leaves of the schema.
    pub leaf: usize,
    pub kind: Scalar,
    /// The column's name in the file.
    pub name: String,
}

/// A list column.
#[derive(Debug, Clone)]
pub(super) struct VectorColumn {
    pub leaf: usize,
    /// The definition level from which on a list has an element (below: empty by one, null by more).
    pub list_def: i16,
    pub max_def: i16,
}

/// The columns of one file that are read.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    pub entity_id: ScalarColumn,
    pub ts: ScalarColumn,
    pub vector: VectorColumn,
    /// model_version, model_hash, input_hash, pipeline_hash.
    pub texts: [Option<ScalarColumn>; 4],
    pub produced_at: Option<ScalarColumn>,
    pub attrs_json: Option<ScalarColumn>,
    pub attrs: Vec<ScalarColumn>,
}

impl Columns {
    /// The leaves that are read.
    pub(super) fn leaves(&self) -> impl Iterator<Item = usize> {
        let optional = self.texts.iter().chain([&self.produced_at, &self.attrs_json]);
        [&self.entity_id, &self.ts]
            .into_iter()
            .chain(optional.flatten())
            .chain(&self.attrs)
            .map(|column| column.leaf)
            .chain([self.vector.leaf])
    }

    /// Finds and checks every column that the configuration names.
    pub(super) fn resolve(schema: &SchemaDescriptor, config: &Config, path: &Path) -> Result<Self, Error> {
        let find = Finder { schema, config, path };
        let key = |role, name: &str| find.scalar(role, name, KEYS, |kind, _| kind.is_key());
        let time = |role, name: &str| find.scalar(role, name, TIMES, Scalar::is_time);
        let text = |role, name: &Option<String>| find.optional(name.as_deref(), |name| key(role, name));
        Ok(Self {
            entity_id: key("entity id", &config.entity_id_column)?,
            ts: time("timestamp", &config.timestamp_column)?,
            vector: find.vector(&config.vector_column)?,
            texts: [
                text("model version", &config.model_version_column)?,
                text("model hash", &config.model_hash_column)?,
                text("input hash", &config.input_hash_column)?,
                text("pipeline hash", &config.pipeline_hash_column)?,
            ],
            produced_at: find.optional(config.produced_at_column.as_deref(), |name| {
                time("produced at", name)
            })?,
            attrs_json: find.optional(config.attrs_column.as_deref(), |name| {
                find.scalar("attrs", name, "string that holds JSON", |kind, _| {
                    kind == Scalar::Text
                })
            })?,
            attrs: config
                .attrs_columns
                .iter()
                .filter_map(|name| {
                    let find_one = |name: &str| find.scalar("attrs", name, ATTRS, |_, _| true);
                    find.optional(Some(name), find_one).transpose()
                })
                .collect::<Result<_, _>>()?,
        })
    }
}

struct Finder<'a> {
    schema: &'a SchemaDescriptor,
    config: &'a Config,
    path: &'a Path,
}

impl Finder<'_> {
    /// A column that no record needs: None where none is asked for, or where a file may lack it and does.
    fn optional(
        &self,
        name: Option<&str>,
        find: impl Fn(&str) -> Result<ScalarColumn, Error>,
    ) -> Result<Option<ScalarColumn>, Error> {
        match name.map(find).transpose() {
            Err(Error::MissingColumn { .. }) if self.config.optional_columns_may_lack => Ok(None),
            found => found,
        }
    }

    fn scalar(
        &self,
        role: &'static str,
        name: &str,
        accepted: &'static str,
        suits: impl Fn(Scalar, Physical) -> bool,
    ) -> Result<ScalarColumn, Error> {
        let (leaf, column) = match self.field(role, name)?[..] {
            [(leaf, column)]
                if column.max_rep_level() == 0 && self.schema.get_column_root(leaf).is_primitive() =>
            {
                (leaf, column)
            }
            ref leaves => return Err(self.wrong_type(role, name, leaves, accepted)),
        };
        match kind::scalar(column) {
            Ok(kind) if suits(kind, column.physical_type()) => Ok(ScalarColumn {
                leaf,
                kind,
                name: name.into(),
            }),
            _ => Err(self.wrong_type(role, name, &[(leaf, column)], accepted)),
        }
    }

    fn vector(&self, name: &str) -> Result<VectorColumn, Error> {
        let leaves = self.field("vector", name)?;
        if let [(leaf, column)] = leaves[..]
            && kind::is_list(self.schema.get_column_root(leaf))
            && column.max_rep_level() == 1
            && kind::is_element(column)
        {
            let (list_def, max_def) = (column.repeated_ancestor_def_level(), column.max_def_level());
            return Ok(VectorColumn {
                leaf,
                list_def,
                max_def,
            });
        }
        Err(self.wrong_type("vector", name, &leaves, VECTORS))
    }

    /// The leaves of a top-level field, which are more than one for a struct. The field goes by its name or
    /// by one of its aliases.
    fn field(&self, role: &'static str, name: &str) -> Result<Vec<(usize, &ColumnDescriptor)>, Error> {
        let aliases = self.config.column_aliases.get(name);
        let is_named = |found: &str| found == name || aliases.is_some_and(|it| it.iter().any(|a| a == found));
        let leaves: Vec<_> = (0..self.schema.num_columns())
            .filter(|&leaf| is_named(self.schema.get_column_root(leaf).name()))
            .map(|leaf| (leaf, self.schema.columns()[leaf].as_ref()))
            .collect();
        let mut names: Vec<_> = leaves
            .iter()
            .map(|(leaf, _)| self.schema.get_column_root(*leaf).name())
            .collect();
        names.dedup();
        if names.len() > 1 {
            return Err(Error::TwoColumns {
                path: self.path.into(),
                role,
                column: name.into(),
                found: names.into_iter().map(String::from).collect(),
            });
        }
        if !leaves.is_empty() {
            return Ok(leaves);
        }
        let available = self
            .schema
            .root_schema()
            .get_fields()
            .iter()
            .map(|field| field.name().to_string())
            .collect();
        Err(Error::MissingColumn {
            path: self.path.into(),
            role,
            column: name.into(),
            available,
        })
    }

    fn wrong_type(
        &self,
        role: &'static str,
        name: &str,
        leaves: &[(usize, &ColumnDescriptor)],
        accepted: &'static str,
    ) -> Error {
        let columns: Vec<_> = leaves.iter().map(|(_, column)| *column).collect();
        let root = leaves.first().map(|(leaf, _)| self.schema.get_column_root(*leaf));
        let found = root.map_or_else(|| "nothing".into(), |root| kind::name_field(root, &columns));
        Error::WrongType {
            path: self.path.into(),
            role,
            column: name.into(),
            found,
            accepted,
        }
    }
}
