//! Files and folders: which are read, in which order, and what is said when there is nothing to read.
#![cfg(feature = "parquet")]

mod common;

use common::*;
use cvx_sources::ErrorKind;
use cvx_sources::parquet::{Config, Error, ParquetConnector};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

fn one(path: &Path, id: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write(
        path,
        &[vec![ids(&[id]), seconds(1), vectors(&[&[1.0]])]],
        Default::default(),
    );
}

fn names(path: &Path) -> Vec<String> {
    read(config(path, 1))
        .unwrap()
        .records
        .into_iter()
        .map(|(id, ..)| id)
        .collect()
}

#[test]
fn nested_folders_are_read_in_the_order_of_their_names() {
    let root = folder("nested");
    for name in [
        "b.parquet",
        "a/z.PARQUET",
        "a/b/c.parquet",
        "Z.parquet",
        "c=1/d=2/x.parquet",
    ] {
        one(&root.join(name), name);
    }
    for skipped in [
        ".hidden.parquet",
        "_temporary/x.parquet",
        "_x.parquet",
        "a/.git/x.parquet",
        "x.parquet.tmp",
    ] {
        one(&root.join(skipped), skipped);
    }
    fs::write(root.join("README.txt"), "not Parquet").unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    let expected = [
        "Z.parquet",
        "a/b/c.parquet",
        "a/z.PARQUET",
        "b.parquet",
        "c=1/d=2/x.parquet",
    ];
    assert_eq!(names(&root), expected);
    assert_eq!(names(&root.join("a")), ["a/b/c.parquet", "a/z.PARQUET"]);
    assert_eq!(names(&root.join("x.parquet.tmp")), ["x.parquet.tmp"]);
}

#[test]
fn progress_counts_files_and_rows() {
    let root = folder("progress");
    ["a", "b", "c"]
        .iter()
        .for_each(|name| one(&root.join(name).with_extension("parquet"), name));
    let mut config = config(&root, 1);
    config.batch_size = 1;
    let mut connector = ParquetConnector::open(config).unwrap();
    assert_eq!(connector.files().len(), 3);
    let mut seen = Vec::new();
    while connector.read_batch().unwrap().is_some() {
        let progress = connector.progress();
        seen.push((
            progress.parts_done,
            progress.parts_total,
            progress.rows_read,
            progress.rows_total,
        ));
        assert!(progress.current.is_some_and(|file| file.ends_with(".parquet")));
    }
    assert_eq!(
        seen,
        [
            (0, Some(3), 1, Some(3)),
            (1, Some(3), 2, Some(3)),
            (2, Some(3), 3, Some(3))
        ]
    );
    assert_eq!(connector.progress().parts_done, 3);
    assert!(connector.read_batch().unwrap().is_none());
}

#[test]
fn links_inside_a_folder_are_not_followed() {
    let root = folder("links");
    one(&root.join("data/a.parquet"), "a");
    symlink(root.join("data"), root.join("way_in")).unwrap();
    assert_eq!(names(&root.join("way_in")), ["a"]);
    assert_eq!(names(&root.join("data")), ["a"]);
    symlink("..", root.join("data/_skipped")).unwrap();
    symlink("nowhere.txt", root.join("data/harmless")).unwrap();
    assert_eq!(names(&root.join("data")), ["a"]);
    for (target, name) in [
        ("..", "data/loop"),
        ("/etc/passwd", "data/b.parquet"),
        ("a.parquet", "data/c.parquet"),
    ] {
        symlink(target, root.join(name)).unwrap();
        let error = read(config(&root.join("data"), 1)).err().unwrap();
        assert_eq!(
            error,
            Error::SymbolicLink {
                path: root.join(name)
            }
        );
        fs::remove_file(root.join(name)).unwrap();
    }
}

fn error_of(config: Config) -> (ErrorKind, String, String, String) {
    let error = cvx_sources::SourceError::from(ParquetConnector::open(config).err().unwrap());
    (
        error.kind,
        error.message,
        error.detail.unwrap_or_default(),
        error.hint.unwrap_or_default(),
    )
}

#[test]
fn nothing_to_read() {
    let root = folder("nothing");
    let missing = root.join("missing");
    let (kind, message, _, hint) = error_of(config(&missing, 1));
    assert_eq!(kind, ErrorKind::NotFound);
    assert_eq!(
        message,
        format!("file or folder \"{}\" does not exist", missing.display())
    );
    assert!(hint.contains("on the server"));
    assert_eq!(error_of(config(&root, 1)).0, ErrorKind::WrongSchema);
    assert!(matches!(read(config(&root, 1)), Err(Error::EmptyFolder { .. })));
    assert!(matches!(
        read(config(Path::new("/dev/null"), 1)),
        Err(Error::NotRegular { .. })
    ));
    one(&root.join("a.parquet"), "a");
    assert!(matches!(
        read(config(&root.join("a.parquet/x"), 1)),
        Err(Error::NotFound { .. })
    ));
    let (kind, message, ..) = error_of(config(&root.join("a.parquet"), 0));
    assert_eq!(
        (kind, message.as_str()),
        (ErrorKind::Config, "a space cannot have 0 dimensions")
    );
    let mut huge = config(&root, 1);
    huge.batch_size = 0;
    assert_eq!(error_of(huge).0, ErrorKind::Config);
}

#[test]
fn zero_rows_are_no_error() {
    let none = || vec![ids(&[]), seconds(0), vectors(&[])];
    let path = file("zero_rows", none());
    assert!(read(config(&path, 1)).unwrap().batches.is_empty());
    let root = folder("zero_rows_folder");
    write(&root.join("a.parquet"), &[none(), none()], Default::default());
    one(&root.join("b.parquet"), "b");
    write(&root.join("c.parquet"), &[none()], Default::default());
    assert_eq!(names(&root), ["b"]);
}

#[test]
fn a_missing_column_is_named_with_what_there_is() {
    let path = file(
        "missing_column",
        vec![ids(&["a"]), seconds(1), vectors(&[&[1.0]])],
    );
    let (kind, message, detail, hint) = error_of(Config::new(&path, 1, "id", "ts", "vecs"));
    assert_eq!(kind, ErrorKind::WrongSchema);
    assert_eq!(
        message,
        format!(
            "Parquet file \"{}\" has no column \"vecs\" (vector)",
            path.display()
        )
    );
    assert_eq!(detail, "The file has the columns id, ts, vec.");
    assert_eq!(hint, "Perhaps you meant the column \"vec\".");
}

#[test]
fn files_of_a_folder_may_differ_in_schema_but_not_lack_a_column() {
    let root = folder("schemas");
    one(&root.join("a.parquet"), "a");
    let doubles: Vec<Vector<f64>> = vec![Some(vec![Some(2.0)])];
    let b = || {
        vec![
            list("double element", &doubles, Data::F64),
            column("required boolean extra;", Data::Bool(vec![true])),
            column("required int32 ts (DATE);", Data::I32(vec![0])),
            column("required int64 id;", Data::I64(vec![7])),
        ]
    };
    write(&root.join("b.parquet"), &[b()], Default::default());
    assert_eq!(names(&root), ["a", "7"]);
    write(&root.join("c.parquet"), &[b()[..3].to_vec()], Default::default());
    assert!(matches!(read(config(&root, 1)), Err(Error::MissingColumn { .. })));
}
