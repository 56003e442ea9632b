//! Damaged and hostile files: an error or rejects, never a panic, never memory out of proportion.
#![cfg(feature = "parquet")]

mod common;

use common::*;
use cvx_sources::parquet::{Error, ParquetConnector};
use cvx_sources::{ErrorKind, MAX_TEXT_BYTES, RejectReason};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
use std::fs;
use std::path::Path;

/// Rows of the files that are damaged.
const ROWS: usize = 300;

fn properties(codec: Compression, version: WriterVersion) -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(codec)
        .set_writer_version(version)
        .set_data_page_row_count_limit(70)
        .set_write_batch_size(35)
}

/// Files of every codec, both page versions, and every encoding of text.
fn variants() -> Vec<(&'static str, WriterProperties)> {
    use WriterVersion::{PARQUET_1_0, PARQUET_2_0};
    let delta = |encoding| {
        properties(Compression::UNCOMPRESSED, PARQUET_2_0)
            .set_dictionary_enabled(false)
            .set_column_encoding("id".into(), encoding)
    };
    vec![
        (
            "plain",
            properties(Compression::UNCOMPRESSED, PARQUET_1_0).set_dictionary_enabled(false),
        ),
        ("dictionary", properties(Compression::UNCOMPRESSED, PARQUET_1_0)),
        ("snappy", properties(Compression::SNAPPY, PARQUET_1_0)),
        (
            "zstd",
            properties(Compression::ZSTD(ZstdLevel::default()), PARQUET_2_0),
        ),
        (
            "gzip",
            properties(Compression::GZIP(Default::default()), PARQUET_1_0),
        ),
        ("lz4", properties(Compression::LZ4_RAW, PARQUET_2_0)),
        (
            "brotli",
            properties(Compression::BROTLI(Default::default()), PARQUET_1_0),
        ),
        ("delta_length", delta(Encoding::DELTA_LENGTH_BYTE_ARRAY)),
        ("delta", delta(Encoding::DELTA_BYTE_ARRAY)),
    ]
    .into_iter()
    .map(|(name, properties)| (name, properties.build()))
    .collect()
}

fn groups() -> Vec<Vec<Column>> {
    let group = |rows: std::ops::Range<usize>| {
        let names: Vec<String> = rows.clone().map(|i| format!("entity-{}", i / 10)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let vectors: Vec<Vector<f32>> = rows
            .clone()
            .map(|i| match i % 50 {
                3 => None,
                4 => Some(vec![Some(1.0), None, Some(2.0)]),
                _ => Some((0..3).map(|j| Some((i * 3 + j) as f32 + 0.5)).collect()),
            })
            .collect();
        vec![
            ids(&names),
            seconds(rows.len()),
            list("float element", &vectors, Data::F32),
        ]
    };
    vec![group(0..ROWS / 2), group(ROWS / 2..ROWS)]
}

/// Reads all there is; what comes out, of a damaged file too, must be sound.
fn outcome(path: &Path) -> Result<(usize, usize), Error> {
    let mut connector = ParquetConnector::open(config(path, 3))?;
    let (mut rows, mut rejects) = (0, 0);
    while let Some(batch) = connector.read_batch()? {
        for record in batch.records() {
            cvx_sources::validate(&record, 3).unwrap();
        }
        rows += batch.len();
        rejects += batch.rejects().len();
        assert!(rows + rejects <= 1_000_000, "a file of {ROWS} rows does not end");
    }
    Ok((rows, rejects))
}

/// SplitMix64, for places and bits that are the same in every run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn every_variant_reads_whole() {
    for (name, properties) in variants() {
        let path = folder(&format!("whole_{name}")).join("a.parquet");
        write(&path, &groups(), properties);
        assert_eq!(outcome(&path).unwrap(), (ROWS - 12, 12), "{name}");
    }
}

#[test]
fn a_truncated_file_is_an_error_at_every_length() {
    for (name, properties) in variants().into_iter().take(3) {
        let path = folder(&format!("truncated_{name}")).join("a.parquet");
        write(&path, &groups(), properties);
        let whole = fs::read(&path).unwrap();
        for length in (0..whole.len()).filter(|n| n % 13 == 0 || *n < 40 || whole.len() - n < 40) {
            fs::write(&path, &whole[..length]).unwrap();
            let error = outcome(&path).unwrap_err();
            let expected = if length < 12 {
                matches!(error, Error::NotParquet { size, .. } if size == length as u64)
            } else {
                matches!(error, Error::Corrupt { .. })
            };
            assert!(expected, "{name} cut to {length}: {error:?}");
            assert!(error.hint().unwrap().contains("written and copied to its end"));
        }
        // The middle gone, both ends there: offsets and lengths lie.
        for gap in [1, 100, 1_000] {
            let mut file = whole[..whole.len() / 3].to_vec();
            file.extend_from_slice(&whole[whole.len() / 3 + gap..]);
            fs::write(&path, &file).unwrap();
            assert_eq!(
                outcome(&path).unwrap_err().kind(),
                ErrorKind::Corrupt,
                "{name} without {gap} bytes"
            );
        }
    }
}

#[test]
fn flipped_bits_give_an_error_or_sound_rows() {
    let mut seed = 20_260_101;
    for (name, properties) in variants() {
        let path = folder(&format!("flipped_{name}")).join("a.parquet");
        write(&path, &groups(), properties);
        let whole = fs::read(&path).unwrap();
        let footer = u32::from_le_bytes(whole[whole.len() - 8..][..4].try_into().unwrap()) as usize;
        let mut errors = 0;
        for i in 0..600 {
            let mut file = whole.clone();
            for _ in 0..1 + i % 3 {
                // Half of the flips go to the footer, which is where lengths and counts are.
                let start = if i % 2 == 0 { 0 } else { whole.len() - 8 - footer };
                let at = start + random(&mut seed) as usize % (whole.len() - start);
                file[at] ^= match i % 5 {
                    0 => 0xff,
                    _ => 1 << (random(&mut seed) % 8),
                };
            }
            fs::write(&path, &file).unwrap();
            errors += usize::from(outcome(&path).is_err());
        }
        assert!(
            (100..600).contains(&errors),
            "{name}: {errors} of 600 flips were noticed"
        );
    }
    assert!(
        peak_virtual_megabytes() < 1_024,
        "{} MB",
        peak_virtual_megabytes()
    );
}

#[test]
fn other_files_are_not_parquet() {
    let path = folder("other").join("a.parquet");
    for content in [
        &b""[..],
        b"PAR1",
        b"PAR1PAR1",
        b"id,ts,vec\na,2026-01-01,\"[1]\"\n",
        &[0; 4096],
    ] {
        fs::write(&path, content).unwrap();
        assert!(
            matches!(outcome(&path), Err(Error::NotParquet { .. })),
            "{content:?}"
        );
    }
    fs::write(&path, b"PARE0000000000000000PARE").unwrap();
    assert!(matches!(outcome(&path), Err(Error::Unsupported { .. })));
    fs::write(&path, b"PAR1\xff\xff\xff\x7fPAR1").unwrap();
    assert!(matches!(outcome(&path), Err(Error::Corrupt { .. })));
    fs::write(&path, b"PAR1\0\0\0\0PAR1").unwrap();
    assert!(matches!(outcome(&path), Err(Error::Corrupt { .. })));
}

#[test]
fn an_error_ends_the_reading() {
    let path = folder("spent").join("a.parquet");
    write(&path, &groups(), variants().remove(0).1);
    let mut connector = ParquetConnector::open(config(&path, 3)).unwrap();
    let mut file = fs::read(&path).unwrap();
    file[4..40].fill(0xff);
    fs::write(&path, &file).unwrap();
    assert_eq!(connector.read_batch().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(matches!(connector.read_batch(), Err(Error::Spent { .. })));
}

/// A row of millions of equal elements is some hundred bytes of Parquet.
#[test]
fn a_row_of_millions_ends_the_reading_before_it_takes_memory() {
    let write_row = |name: &str, elements: usize, version| {
        let row: Vector<f32> = Some(vec![Some(0.5); elements]);
        let columns = vec![ids(&["e"]), seconds(1), list("float element", &[row], Data::F32)];
        let path = folder(name).join("a.parquet");
        write(
            &path,
            &[columns],
            WriterProperties::builder().set_writer_version(version).build(),
        );
        path
    };
    for (version, tag) in [
        (WriterVersion::PARQUET_1_0, "v1"),
        (WriterVersion::PARQUET_2_0, "v2"),
    ] {
        let path = write_row(&format!("long_row_{tag}"), 5_000_000, version);
        assert!(fs::metadata(&path).unwrap().len() < 100_000);
        let error = outcome(&path).unwrap_err();
        assert_eq!(
            error.detail().unwrap(),
            "a row's list has more than 65536 elements"
        );
        let path = write_row(&format!("wide_row_{tag}"), 65_536, version);
        let read = read(config(&path, 3)).unwrap();
        assert_eq!(
            read.rejects[0].reason,
            RejectReason::TooManyDimensions { found: 65_536 }
        );
    }
}

/// A dictionary holds a long text once, however many rows repeat it.
#[test]
fn a_text_that_rows_share_does_not_fill_memory() {
    let write_text = |name: &str, bytes: usize| {
        let hash = "x".repeat(bytes);
        let hash = column("required binary hash (STRING);", texts(&vec![hash.as_str(); 200]));
        let columns = vec![
            ids(&["e"; 200]),
            seconds(200),
            vectors(&[&[1.0f32][..]; 200]),
            hash,
        ];
        let path = folder(name).join("a.parquet");
        let properties = WriterProperties::builder()
            .set_dictionary_page_size_limit(1 << 24)
            .build();
        write(&path, &[columns], properties);
        assert!(fs::metadata(&path).unwrap().len() < 4 << 20);
        let mut config = config(&path, 1);
        config.input_hash_column = Some("hash".into());
        read(config).unwrap()
    };
    let longest = write_text("shared_text", MAX_TEXT_BYTES);
    assert_eq!(longest.records.len(), 200);
    assert!(longest.batches.iter().all(|batch| batch.bytes() < 66 << 20));
    let longer = write_text("shared_long_text", MAX_TEXT_BYTES + 1);
    let expected = RejectReason::TextTooLong {
        field: "input_hash",
        bytes: MAX_TEXT_BYTES + 1,
    };
    assert!(longer.rejects.len() == 200 && longer.rejects.iter().all(|reject| reject.reason == expected));
}

/// VmPeak counts what was reserved, touched or not.
fn peak_virtual_megabytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    peak.and_then(|kb| kb.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .map_or(0, |kb| kb >> 10)
}
