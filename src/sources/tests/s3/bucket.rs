//! A bucket: what is listed, what is fetched, and that it is the same as from a folder.

use crate::common::*;
use crate::harness::*;
use crate::server::*;
use cvx_sources::Work;
use parquet::file::properties::WriterProperties;
use serde_json::json;
use std::fs;
use std::path::Path;

/// Rows of 384 dimensions in uncompressed row groups, with a wide column that is not asked for.
fn write_wide(path: &Path, prefix: &str, groups: usize, size: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let group = |g: usize| {
        let mut columns = rows(prefix, g * size..(g + 1) * size);
        let vector = |i: usize| {
            Some(
                (0..384)
                    .map(|j| Some((i * 384 + j) as f32 * 1e-3 + 1.0))
                    .collect(),
            )
        };
        let vectors: Vec<Vector<f32>> = (g * size..(g + 1) * size).map(vector).collect();
        columns[2] = list("float element", &vectors, Data::F32);
        let blob = vec![vec![7u8; 500]; size];
        columns.insert(1, column("required binary blob;", Data::Bytes(blob)));
        columns
    };
    let properties = WriterProperties::builder().set_dictionary_enabled(false).build();
    write(path, &(0..groups).map(group).collect::<Vec<_>>(), properties);
}

#[test]
fn a_bucket_reads_as_a_folder_does_and_goes_on_where_it_broke_off() {
    let Some(moto) = Moto::shared() else { return };
    let root = folder("s3_bucket_same");
    write_rows(&root.join("in/a b+c=1/ä.parquet"), "a", 3, 7);
    write_rows(&root.join("in/b.PARQUET"), "b", 1, 9);
    write_rows(&root.join("in/_skipped/c.parquet"), "c", 1, 1);
    write_rows(&root.join("in2/d.parquet"), "d", 1, 1);
    fs::write(root.join("in/README.md"), "no data").unwrap();
    fs::write(root.join("in/e.parquet"), "no Parquet file").unwrap();
    moto.upload("same", &root);
    let whole = [expected("a", 21), expected("b", 9)].concat();
    for batch in [1, 4, 7, 10, 100] {
        let mut source = moto.source("same");
        source.config["prefix"] = json!("in");
        source.limits.rows = batch;
        let (mut ids, mut rejects, mut runs) = (Vec::new(), Vec::new(), 0);
        loop {
            let (run, ended) = source.run_for(Work::Incremental, 1 + runs % 3).unwrap();
            ids.extend(run.ids);
            rejects.extend(run.rejects.into_iter().map(|reject| reject.position));
            runs += 1;
            if ended {
                break;
            }
        }
        assert_eq!(ids, whole, "{batch}");
        assert_eq!(rejects, ["in/e.parquet"], "{batch}");
        let keys: Vec<_> = source.watermark.keys().collect();
        assert_eq!(keys, ["in/a b+c=1/ä.parquet", "in/b.PARQUET", "in/e.parquet"]);
        assert_eq!(source.sync().bytes, 0);
    }
    let mut source = moto.source("same");
    source.config["prefix"] = json!("in/b.PARQUET");
    assert_eq!(source.sync().ids, expected("b", 9));
    let replay = [
        "in/b.PARQUET#3",
        "in/b.PARQUET#9",
        "in2/d.parquet#0",
        "in/gone.parquet#0",
    ];
    source.config["prefix"] = json!("in/");
    let run = source
        .run(Work::Replay(replay.map(String::from).to_vec()))
        .unwrap();
    assert_eq!(run.ids, ["b-3"]);
    let gone: Vec<_> = run
        .rejects
        .iter()
        .map(|r| (r.position.as_str(), r.reason.code()))
        .collect();
    let expected_gone = ["in/b.PARQUET#9", "in/gone.parquet#0", "in2/d.parquet#0"].map(|it| (it, "gone"));
    let mut sorted = gone.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected_gone);
}

#[test]
fn changed_files_are_read_again_and_removed_ones_are_no_error() {
    let Some(moto) = Moto::shared() else { return };
    let root = folder("s3_bucket_changes");
    for name in ["a", "b"] {
        write_rows(&root.join(name).with_extension("parquet"), name, 1, 3);
    }
    moto.upload("changes", &root);
    let mut source = moto.source("changes");
    assert_eq!(source.sync().ids.len(), 6);
    write_rows(&root.join("new.parquet"), "new", 1, 2);
    moto.put("/changes/a.parquet", &fs::read(root.join("new.parquet")).unwrap());
    moto.delete("/changes/b.parquet");
    assert_eq!(source.sync().ids, expected("new", 2));
    assert!(source.watermark.contains_key("b.parquet"));
    moto.put("/changes/b.parquet", &fs::read(root.join("b.parquet")).unwrap());
    assert_eq!(
        source.sync().ids.len(),
        0,
        "the same content under the same name is no news"
    );
}

/// The bar: at most 1.2 times the new records' own bytes.
#[test]
fn only_the_columns_and_row_groups_that_are_wanted_are_fetched() {
    let Some(moto) = Moto::shared() else { return };
    let root = folder("s3_bucket_bytes");
    write_wide(&root.join("old.parquet"), "old", 2, 2000);
    write_wide(&root.join("new.parquet"), "new", 8, 2000);
    moto.upload("bytes", &root);
    let proxy = Proxy::before(moto.port, |_, _| Action::Forward);
    let mut source = source_at(proxy.port, "bytes");
    source.dims = 384;
    source.limits.rows = 10_000;
    source.config["filter"] = json!({"entity_ids": ["nobody"]});
    source.sync();
    source.watermark.remove("new.parquet");
    source.config["filter"] = json!(null);
    let asked = proxy.take();
    let read: usize = asked.iter().filter(|it| !it.is_list()).map(|it| it.bytes).sum();
    assert!(read < 140_000, "only the two footers: {read}");

    let run = source.sync();
    assert_eq!(run.ids, expected("new", 16_000));
    let mut local = Source::folder(&root);
    (local.dims, local.limits.rows) = (384, 10_000);
    local.run(Work::Incremental).unwrap();
    let same = local.run(Work::Full).unwrap();
    assert_eq!(run.vectors, same.vectors[..16_000]);
    let asked = proxy.take();
    let (wire, own) = (
        asked.iter().map(|it| it.bytes).sum::<usize>() as f64,
        16_000.0 * (384.0 * 4.0 + 8.0 + 9.0),
    );
    println!("{} requests, {wire} bytes for {own} of records", asked.len());
    assert!(wire / own < 1.2, "{}", wire / own);
    assert!((run.bytes as f64) < wire && run.bytes as f64 > own);
    assert!(
        asked.iter().all(|it| !it.path.contains("old.parquet")),
        "what was read is not opened"
    );
    assert!(asked.len() < 40, "{}", asked.len());

    // A run that goes on in the middle leaves out the row groups before.
    source.watermark.get_mut("new.parquet").unwrap()["row"] = json!(13_500);
    let run = source.sync();
    assert_eq!(run.ids, expected("new", 16_000)[13_500..]);
    assert!((run.bytes as f64) < own / 8.0 * 2.2, "{}", run.bytes);
}

#[test]
fn partitions_of_other_times_are_not_even_listed() {
    let Some(moto) = Moto::shared() else { return };
    let root = folder("s3_bucket_partitions");
    for month in 1..=12 {
        let path = format!("p/year=2025/month={month:02}/x/a.parquet");
        write_rows(&root.join(path), "x", 1, 1);
    }
    write_rows(&root.join("p/year=2026/month=01/a.parquet"), "a", 1, 2);
    write_rows(&root.join("p/year=2026/month=02/b.parquet"), "b", 1, 2);
    moto.upload("partitions", &root);
    let proxy = Proxy::before(moto.port, |_, _| Action::Forward);
    let mut source = source_at(proxy.port, "partitions");
    source.config["prefix"] = json!("p/");
    source.config["partition_format"] = json!("year=%Y/month=%m");
    source.config["filter"] = json!({"from": "2025-12-31T23:00:00Z", "to": "2026-02-01"});
    assert_eq!(source.sync().ids, ["x-0", "a-0", "a-1"]);
    let asked = proxy.take();
    // The root, both years, December and January; a file each.
    let lists: Vec<_> = asked.iter().filter(|it| it.is_list()).collect();
    assert_eq!(lists.len(), 5, "{lists:?}");
    assert_eq!(asked.len(), 7, "{asked:?}");
    source.config["filter"] = json!(null);
    assert_eq!(source.sync().ids.len(), 11 + 2);
    assert_eq!(proxy.take().iter().filter(|it| it.is_list()).count(), 1);
    moto.put("/partitions/p/year=2026/stray.parquet", b"");
    source.config["filter"] = json!({"from": "2026-01-01"});
    assert!(source.error().1.contains("stray.parquet\" does not follow"));
}

/// Every damage does the same in a bucket as in a folder.
#[test]
fn damaged_files_do_in_a_bucket_what_they_do_in_a_folder() {
    let Some(moto) = Moto::shared() else { return };
    let root = folder("s3_bucket_damaged");
    write_rows(&root.join("whole.parquet"), "w", 3, 50);
    let whole = fs::read(root.join("whole.parquet")).unwrap();
    let mut seed = 7u64;
    for i in 0..80 {
        let mut file = whole.clone();
        for _ in 0..1 + i % 4 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % file.len();
            file[at] ^= 1 << (seed >> 60 & 7);
        }
        if i % 8 == 0 {
            file.truncate(file.len() * (i + 1) / 90);
        }
        fs::write(root.join(format!("d{i:02}.parquet")), file).unwrap();
    }
    moto.upload("damaged", &root);
    let mut local = Source::folder(&root);
    let mut remote = moto.source("damaged");
    let (local, remote) = (local.sync(), remote.sync());
    assert_eq!(local.ids, remote.ids);
    let all = |run: &Run| {
        run.rejects
            .iter()
            .map(|reject| (reject.position.clone(), reject.reason.code()))
            .collect::<Vec<_>>()
    };
    assert_eq!(all(&local), all(&remote));
    assert!(all(&local).iter().filter(|it| it.1 == "malformed").count() > 20);
    assert!(local.ids.len() > 150);
}
