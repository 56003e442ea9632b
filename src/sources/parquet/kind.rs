//! What a Parquet column holds: its physical and logical type in one word, and which words may play which
//! role.

use crate::time::EpochUnit;
use ::parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use ::parquet::schema::types::{ColumnDescriptor, Type};

/// What one value of a flat column is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar {
    Bool,
    /// INT32 or INT64.
    Signed,
    /// INT32 or INT64, of which the bits are an unsigned number.
    Unsigned,
    Float,
    /// Text, or bytes that turn out to be UTF-8.
    Text,
    Uuid,
    Date,
    /// A timestamp with or without zone: without, it is taken as UTC.
    Time(EpochUnit),
    /// A timestamp of Impala and early Spark.
    Int96,
}

impl Scalar {
    /// Whether this may be an entity id, a version, a hash.
    pub(super) fn is_key(self) -> bool {
        matches!(self, Self::Text | Self::Uuid | Self::Signed | Self::Unsigned)
    }

    /// Whether this may be a timestamp.
    pub(super) fn is_time(self, physical: Physical) -> bool {
        match self {
            Self::Text => physical == Physical::BYTE_ARRAY,
            Self::Signed | Self::Unsigned | Self::Date | Self::Time(_) | Self::Int96 => true,
            _ => false,
        }
    }
}

/// The scalar that a leaf holds.
///
/// # Errors
/// The name of a type that is no scalar we take.
pub(super) fn scalar(leaf: &ColumnDescriptor) -> Result<Scalar, String> {
    let found = match (
        leaf.physical_type(),
        leaf.logical_type_ref(),
        leaf.converted_type(),
    ) {
        (_, Some(LogicalType::Decimal(_)), _) | (_, None, ConvertedType::DECIMAL) => None,
        (_, Some(LogicalType::Time(_)), _) => None,
        (_, None, ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS) => None,
        (_, Some(LogicalType::Timestamp(timestamp)), _) => Some(Scalar::Time(unit(&timestamp.unit))),
        (_, None, ConvertedType::TIMESTAMP_MILLIS) => Some(Scalar::Time(EpochUnit::Millis)),
        (_, None, ConvertedType::TIMESTAMP_MICROS) => Some(Scalar::Time(EpochUnit::Micros)),
        (_, Some(LogicalType::Date), _) | (_, None, ConvertedType::DATE) => Some(Scalar::Date),
        (Physical::INT32 | Physical::INT64, _, _) if is_unsigned(leaf) => Some(Scalar::Unsigned),
        (Physical::INT32 | Physical::INT64, _, _) => Some(Scalar::Signed),
        (Physical::INT96, _, _) => Some(Scalar::Int96),
        (Physical::BOOLEAN, _, _) => Some(Scalar::Bool),
        (Physical::FLOAT | Physical::DOUBLE, _, _) => Some(Scalar::Float),
        (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Uuid), _) if leaf.type_length() == 16 => {
            Some(Scalar::Uuid)
        }
        (Physical::FIXED_LEN_BYTE_ARRAY, _, _) => None,
        (Physical::BYTE_ARRAY, logical, converted) => (converted != ConvertedType::BSON
            && matches!(
                logical,
                None | Some(LogicalType::String | LogicalType::Enum | LogicalType::Json)
            ))
        .then_some(Scalar::Text),
    };
    found.ok_or_else(|| name_leaf(leaf))
}

/// Whether a leaf inside a list may be the elements of a vector.
pub(super) fn is_element(leaf: &ColumnDescriptor) -> bool {
    match leaf.physical_type() {
        Physical::FLOAT | Physical::DOUBLE => true,
        Physical::FIXED_LEN_BYTE_ARRAY => {
            leaf.type_length() == 2 && matches!(leaf.logical_type_ref(), Some(LogicalType::Float16))
        }
        _ => false,
    }
}

/// Whether a top-level field is a list: annotated as one, or a repeated field of old writers.
pub(super) fn is_list(field: &Type) -> bool {
    let info = field.get_basic_info();
    if info.has_repetition() && info.repetition() == ::parquet::basic::Repetition::REPEATED {
        return true;
    }
    field.is_group()
        && (matches!(info.logical_type_ref(), Some(LogicalType::List))
            || info.converted_type() == ConvertedType::LIST)
}

/// The name of a top-level field's type as a user knows it, such as `list<string>`.
pub(super) fn name_field(field: &Type, leaves: &[&ColumnDescriptor]) -> String {
    match leaves {
        [leaf] if is_list(field) && leaf.max_rep_level() == 1 => format!("list<{}>", name_leaf(leaf)),
        [leaf] if is_list(field) => format!("list of list<{}>", name_leaf(leaf)),
        [leaf] if field.is_primitive() => name_leaf(leaf),
        _ if is_list(field) => "list<struct>".into(),
        _ => match field.get_basic_info().logical_type_ref() {
            Some(LogicalType::Map) => "map".into(),
            _ => "struct".into(),
        },
    }
}

fn name_leaf(leaf: &ColumnDescriptor) -> String {
    let unsigned = is_unsigned(leaf);
    match (
        leaf.physical_type(),
        leaf.logical_type_ref(),
        leaf.converted_type(),
    ) {
        (_, Some(LogicalType::Decimal(_)), _) | (_, None, ConvertedType::DECIMAL) => {
            format!("decimal({}, {})", leaf.type_precision(), leaf.type_scale())
        }
        (_, Some(LogicalType::Time(_)), _) => "time".into(),
        (_, None, ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS) => "time".into(),
        (_, Some(LogicalType::Timestamp(timestamp)), _) => {
            format!("timestamp[{}]", unit(&timestamp.unit).name())
        }
        (_, None, ConvertedType::TIMESTAMP_MILLIS) => "timestamp[ms]".into(),
        (_, None, ConvertedType::TIMESTAMP_MICROS) => "timestamp[us]".into(),
        (_, Some(LogicalType::Date), _) | (_, None, ConvertedType::DATE) => "date".into(),
        (_, Some(LogicalType::Float16), _) => "float16".into(),
        (_, Some(LogicalType::Uuid), _) => "uuid".into(),
        (_, Some(LogicalType::Unknown), _) => "null".into(),
        (_, _, ConvertedType::BSON) => "bson".into(),
        (Physical::BYTE_ARRAY, Some(LogicalType::String), _) => "string".into(),
        (Physical::BYTE_ARRAY, _, _) => "binary".into(),
        (Physical::FIXED_LEN_BYTE_ARRAY, _, _) => format!("fixed_size_binary({})", leaf.type_length()),
        (Physical::INT32, _, _) => if unsigned { "uint32" } else { "int32" }.into(),
        (Physical::INT64, _, _) => if unsigned { "uint64" } else { "int64" }.into(),
        (Physical::INT96, _, _) => "timestamp[int96]".into(),
        (Physical::BOOLEAN, _, _) => "bool".into(),
        (Physical::FLOAT, _, _) => "float32".into(),
        (Physical::DOUBLE, _, _) => "float64".into(),
    }
}

fn is_unsigned(leaf: &ColumnDescriptor) -> bool {
    match leaf.logical_type_ref() {
        Some(LogicalType::Integer(int)) => !int.is_signed,
        Some(_) => false,
        None => matches!(
            leaf.converted_type(),
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64
        ),
    }
}

fn unit(unit: &TimeUnit) -> EpochUnit {
    match unit {
        TimeUnit::MILLIS => EpochUnit::Millis,
        TimeUnit::MICROS => EpochUnit::Micros,
        TimeUnit::NANOS => EpochUnit::Nanos,
    }
}
