//! `file:///`: the same connector over a folder of the server.

use crate::common::*;
use crate::harness::*;
use cvx_sources::{ErrorKind, RejectReason, Work};
use parquet::file::properties::WriterProperties;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

#[test]
fn only_what_is_new_or_changed_is_read() {
    let root = folder("s3_incremental");
    write_rows(&root.join("a.parquet"), "a", 2, 10);
    write_rows(&root.join("b/c.PARQUET"), "c", 1, 5);
    let mut source = Source::folder(&root);
    let run = source.sync();
    assert_eq!(run.ids, [expected("a", 20), expected("c", 5)].concat());
    assert!(run.bytes > 0);
    assert_eq!(
        source.watermark.keys().collect::<Vec<_>>(),
        ["a.parquet", "b/c.PARQUET"]
    );
    assert!(source.watermark["a.parquet"].get("row").is_none());
    let again = source.sync();
    assert_eq!((again.ids.len(), again.deliveries, again.bytes), (0, 0, 0));
    write_rows(&root.join("b/d.parquet"), "d", 1, 3);
    assert_eq!(source.sync().ids, expected("d", 3));
    write_rows(&root.join("a.parquet"), "new", 1, 4);
    assert_eq!(source.sync().ids, expected("new", 4));
    fs::remove_file(root.join("b/d.parquet")).unwrap();
    assert_eq!(source.sync().ids.len(), 0);
    assert_eq!(source.watermark.len(), 3);
    assert_eq!(
        source.run(Work::Full).unwrap().ids,
        [expected("new", 4), expected("c", 5)].concat()
    );
}

#[test]
fn a_run_that_breaks_off_anywhere_goes_on_there() {
    let root = folder("s3_resume");
    for (name, groups) in [("a", 3), ("b", 1), ("c", 2)] {
        write_rows(&root.join(name).with_extension("parquet"), name, groups, 7);
    }
    let whole = [expected("a", 21), expected("b", 7), expected("c", 14)].concat();
    for batch in [1, 2, 3, 5, 7, 8, 20, 21, 50] {
        for survived in 0..5 {
            let mut source = Source::folder(&root);
            source.limits.rows = batch;
            let (mut ids, mut runs) = (Vec::new(), 0);
            loop {
                let (run, ended) = source.run_for(Work::Incremental, survived.max(runs % 3)).unwrap();
                assert!(run.largest_batch <= batch);
                ids.extend(run.ids);
                runs += 1;
                if ended {
                    break;
                }
            }
            assert_eq!(ids, whole, "{batch} {survived}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_dead_letter_and_the_others_go_on() {
    let root = folder("s3_bad_files");
    write_rows(&root.join("a.parquet"), "a", 1, 3);
    fs::write(root.join("b.parquet"), "this is no Parquet file at all").unwrap();
    write(
        &root.join("c.parquet"),
        &[rows("c", 0..2)[..2].to_vec()],
        WriterProperties::default(),
    );
    let mut d = rows("d", 0..2);
    d[1] = column("required boolean ts;", Data::Bool(vec![true, false]));
    write(&root.join("d.parquet"), &[d], WriterProperties::default());
    write_rows(&root.join("e.parquet"), "e", 1, 3);
    let mut damaged = fs::read(root.join("e.parquet")).unwrap();
    damaged[4..60].fill(0xff);
    fs::write(root.join("e.parquet"), damaged).unwrap();
    write_rows(&root.join("f.parquet"), "f", 1, 2);
    let mut source = Source::folder(&root);
    let run = source.sync();
    assert_eq!(run.ids, [expected("a", 3), expected("f", 2)].concat());
    let rejects: Vec<_> = run
        .rejects
        .iter()
        .map(|r| (r.position.as_str(), r.reason.code()))
        .collect();
    assert_eq!(
        rejects,
        [
            ("b.parquet", "malformed"),
            ("c.parquet", "missing_field"),
            ("d.parquet", "wrong_type"),
            ("e.parquet", "malformed")
        ]
    );
    assert_eq!(
        run.rejects[1].reason,
        RejectReason::MissingField { field: "vec".into() }
    );
    assert!(run.rejects[0].payload.contains("\"file\":\"b.parquet\""));
    assert_eq!(source.watermark["b.parquet"]["failed"], true);
    assert_eq!(source.sync().rejects.len(), 0);
    // Mended, it is read; asked for again unmended, it fails again.
    write_rows(&root.join("b.parquet"), "b", 1, 2);
    assert_eq!(source.sync().ids, expected("b", 2));
    let again = source.run(Work::Replay(vec!["c.parquet".into()])).unwrap();
    assert_eq!(again.rejects[0].position, "c.parquet");
    assert_eq!(again.ids.len(), 0);
}

#[test]
fn replay_reads_the_rows_asked_for_and_nothing_else() {
    let root = folder("s3_replay_rows");
    fs::create_dir_all(root.join("x")).unwrap();
    let mut bad = rows("a", 10..20);
    let elements: Vec<&[f32]> = (0..10)
        .map(|i| if i == 3 { &[1.0][..] } else { &[1.0, 2.0] })
        .collect();
    bad[2] = vectors(&elements);
    write(
        &root.join("x/a.parquet"),
        &[rows("a", 0..10), bad],
        WriterProperties::default(),
    );
    write_rows(&root.join("b.parquet"), "b", 1, 4);
    let mut source = Source::folder(&root);
    let run = source.sync();
    assert_eq!((run.ids.len(), run.rejects.len()), (23, 1));
    assert_eq!(run.rejects[0].position, "x/a.parquet#13");
    let ask = |source: &mut Source, positions: &[&str]| {
        let before = source.watermark.clone();
        let run = source
            .run(Work::Replay(positions.iter().map(|p| p.to_string()).collect()))
            .unwrap();
        assert_eq!(before, source.watermark);
        let rejects: Vec<_> = run
            .rejects
            .iter()
            .map(|r| (r.position.clone(), r.reason.code()))
            .collect();
        (run.ids, rejects)
    };
    let (ids, rejects) = ask(
        &mut source,
        &[
            "b.parquet#3",
            "x/a.parquet#13",
            "x/a.parquet#19",
            "x/a.parquet#20",
            "none.parquet#0",
            "none.parquet",
        ],
    );
    assert_eq!(ids, ["b-3", "a-19"]);
    let mut rejects: Vec<_> = rejects.iter().map(|(p, code)| (p.as_str(), *code)).collect();
    rejects.sort_unstable();
    assert_eq!(
        rejects,
        [
            ("none.parquet", "gone"),
            ("none.parquet#0", "gone"),
            ("x/a.parquet#13", "wrong_dimension"),
            ("x/a.parquet#20", "gone")
        ]
    );
    // Positions are text out of a table: none leads out of the folder.
    let outside = folder("s3_replay_outside");
    write_rows(&outside.join("o.parquet"), "o", 1, 1);
    symlink(outside.join("o.parquet"), root.join("_o.parquet")).unwrap();
    symlink(&outside, root.join("x/_out")).unwrap();
    for position in [
        "../s3_replay_outside/o.parquet#0",
        "x/../../s3_replay_outside/o.parquet#0",
        "_o.parquet#0",
        "x/_out/o.parquet",
        "/etc/passwd#0",
        "",
        "#",
        "x#0",
    ] {
        let (ids, rejects) = ask(&mut source, &[position]);
        assert_eq!((ids.len(), rejects.len()), (0, 1), "{position}");
        assert_eq!(rejects[0], (position.to_string(), "gone"));
    }
    fs::remove_file(root.join("b.parquet")).unwrap();
    assert_eq!(
        ask(&mut source, &["b.parquet#3"]).1,
        [("b.parquet#3".to_string(), "gone")]
    );
}

#[test]
fn folders_of_other_times_are_not_entered() {
    let root = folder("s3_partitions");
    for day in ["2026-01-01", "2026-01-02", "2026-01-03"] {
        write_rows(&root.join(format!("dt={day}/a.parquet")), day, 1, 2);
    }
    let mut source = Source::folder(&root);
    source.config["partition_format"] = json!("dt=%Y-%m-%d");
    assert_eq!(source.sync().ids.len(), 6);
    // All rows are of January 1st; only its folder is entered.
    source.config["filter"] = json!({"to": "2026-01-02"});
    fs::write(root.join("dt=2026-01-02/a.parquet"), "would be a dead letter").unwrap();
    source.watermark.clear();
    assert_eq!(source.sync().ids, expected("2026-01-01", 2));
    source.config["filter"] = json!({"from": "2026-01-03T12:00:00Z"});
    let run = source.sync();
    assert_eq!((run.ids.len(), run.rejects.len()), (0, 0));
    fs::create_dir(root.join("backup")).unwrap();
    let (kind, text) = source.error();
    assert_eq!(kind, ErrorKind::WrongSchema);
    assert!(
        text.contains("backup\" does not follow partition_format \"dt=%Y-%m-%d\""),
        "{text}"
    );
    fs::rename(root.join("backup"), root.join("_backup")).unwrap();
    write_rows(&root.join("stray.parquet"), "s", 1, 1);
    assert!(source.error().1.contains("stray.parquet\" does not follow"));
}

#[test]
fn filters_choose_rows_and_leave_out_row_groups() {
    let root = folder("s3_filter");
    write_rows(&root.join("a.parquet"), "a", 4, 10);
    let mut source = Source::folder(&root);
    source.config["filter"] = json!({"from": "2026-01-01T00:00:12Z", "to": "2026-01-01T00:00:24Z"});
    let run = source.sync();
    assert_eq!(run.ids, expected("a", 24)[12..]);
    // Of the two row groups that are read, 2 rows before and 6 after.
    assert_eq!(run.skipped, 8);
    assert_eq!(source.watermark["a.parquet"].get("row"), None);
    source.watermark.clear();
    source.config["filter"] = json!({"entity_ids": ["a-5", "a-39", "zz"]});
    let run = source.sync();
    assert_eq!(run.ids, ["a-5", "a-39"]);
    // a-10..a-19 and a-20..a-29 cannot hold any of them.
    assert_eq!(run.skipped, 18);
    source.watermark.clear();
    source.config["filter"] = json!({"entity_ids": []});
    assert_eq!(source.sync().ids.len(), 0);
}

#[test]
fn missing_folders_and_bad_paths_are_named() {
    let root = folder("s3_missing");
    let mut source = Source::folder(&root.join("none"));
    assert_eq!(source.error().0, ErrorKind::NotFound);
    assert_eq!(Source::folder(&root).sync().deliveries, 0);
    write_rows(&root.join("one.file"), "o", 1, 2);
    let mut single = Source::folder(&root.join("one.file"));
    assert_eq!(single.sync().ids, expected("o", 2));
    assert_eq!(single.watermark.keys().collect::<Vec<_>>(), ["one.file"]);
    assert_eq!(
        single.run(Work::Replay(vec!["one.file#1".into()])).unwrap().ids,
        ["o-1"]
    );
    symlink("/etc", root.join("link")).unwrap();
    let (kind, text) = Source::folder(&root).error();
    assert!(
        kind == ErrorKind::WrongSchema && text.contains("symbolic link"),
        "{text}"
    );
    assert_eq!(
        Source::folder(Path::new("/dev/null")).error().0,
        ErrorKind::WrongSchema
    );
}
