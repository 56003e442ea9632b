//! Whole pictures: well-formed for any input, bounded in size, and saying what they should.

use cvx_math::Path;
use cvx_plot::{Colouring, Mark, Plot};
use roxmltree::Document;

const DAY: i64 = 86_400_000_000;

fn noise(count: usize) -> Vec<f32> {
    let mut state = 7u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

fn days(n: usize) -> Vec<i64> {
    (0..n as i64).map(|i| i * DAY).collect()
}

fn draw(times: &[i64], values: &[f32], dims: usize, title: Option<&str>, change_points: &[Mark]) -> String {
    let path = Path::new(times, values, dims);
    Plot {
        path,
        title,
        change_points,
        colouring: Colouring::Time,
    }
    .render()
}

/// All text of the picture, after checking that it is well-formed, holds only finite numbers, and lies inside.
fn texts(svg: &str) -> Vec<String> {
    let document = Document::parse(svg).unwrap_or_else(|e| panic!("{e}\n{svg}"));
    assert_eq!(document.root_element().tag_name().name(), "svg");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    for node in document.descendants().filter(|n| n.has_tag_name("circle")) {
        let at = |name: &str| node.attribute(name).unwrap().parse::<f64>().unwrap();
        assert!((0.0..=960.0).contains(&at("cx")) && (0.0..=640.0).contains(&at("cy")));
    }
    document
        .descendants()
        .filter(|n| n.has_tag_name("text"))
        .map(|n| n.text().unwrap_or_default().to_owned())
        .collect()
}

fn circles(svg: &str, radius: &str) -> usize {
    let document = Document::parse(svg).unwrap();
    document
        .descendants()
        .filter(|n| n.has_tag_name("circle") && n.attribute("r") == Some(radius))
        .count()
}

#[test]
fn the_picture_says_what_when_and_how_much() {
    let mut values = noise(60 * 8);
    for point in values.chunks_exact_mut(8).skip(40) {
        point[3] += 4.0;
    }
    let svg = draw(
        &days(60),
        &values,
        8,
        Some("one shift"),
        &[Mark {
            index: 40,
            severity: 0.914,
        }],
    );
    let texts = texts(&svg);
    for wanted in [
        "one shift",
        "60 points in 8 dimensions, 2000-01-01 to 2000-02-29, 1 change point",
        "start 2000-01-01",
        "end 2000-02-29",
        "2000-02-10, severity 0.91",
        "2000-02-12",
    ] {
        assert!(texts.iter().any(|t| t == wanted), "{wanted}: {texts:?}");
    }
    assert!(
        texts
            .iter()
            .any(|t| t.starts_with("PC1 (") && t.ends_with("% of variance)"))
    );
    assert_eq!(circles(&svg, "7.5"), 1, "one ring");
    assert_eq!(circles(&svg, "8"), 2, "a mean on either side");
}

#[test]
fn hostile_titles_are_text() {
    for title in [
        "</title><script>alert(1)</script>",
        "\"><![CDATA[ & ]]> &amp; <!-- --",
        "\0\u{1}\u{8}\u{b}\u{1f}\u{7f}\u{FFFE}\u{FFFF}",
        "\u{202E}gpj.exe",
        &"<".repeat(1_000_000),
        &"数🙂".repeat(1000),
    ] {
        let svg = draw(&days(9), &noise(18), 2, Some(title), &[]);
        texts(&svg);
        assert!(!svg.contains("<script") && svg.len() < 30_000);
    }
    let spaced = draw(&days(9), &noise(18), 2, Some("a\tb\r\nc\u{3}"), &[]);
    assert!(texts(&spaced).contains(&"a b  c".to_owned()));
    let blank = draw(&days(9), &noise(18), 2, Some(" \n"), &[]);
    assert!(blank.contains("<title>Trajectory</title>"));
}

#[test]
fn degenerate_paths_have_pictures() {
    let mark = [Mark {
        index: 1,
        severity: 0.5,
    }];
    assert!(texts(&draw(&[], &[], 0, None, &mark)).contains(&"empty trajectory".to_owned()));
    assert!(texts(&draw(&[], &[], 3, Some("t"), &[])).contains(&"empty trajectory".to_owned()));
    let one = texts(&draw(&[DAY], &[1.0, 2.0], 2, None, &mark));
    assert!(
        one.contains(&"1 point in 2 dimensions, 2000-01-02 00:00:00".to_owned()),
        "{one:?}"
    );
    assert!(one.contains(&"PC1".to_owned()));
    let two = texts(&draw(&[0, 1], &[1.0, 2.0], 1, None, &mark));
    assert!(
        two.contains(&"2000-01-01 00:00:00.000001, severity 0.50".to_owned()),
        "{two:?}"
    );
    let same = draw(&days(50), &[0.25; 150], 3, None, &mark);
    assert!(texts(&same).contains(&"PC2".to_owned()));
    texts(&draw(&days(50), &noise(50), 1, None, &mark));
    texts(&draw(&days(2), &noise(32_000), 16_000, None, &mark));
}

#[test]
fn extreme_numbers_and_times_have_pictures() {
    for size in [f32::MAX, f32::MIN_POSITIVE, 1e-45] {
        let values = [size, -size, -size, size, size, size];
        texts(&draw(
            &[i64::MIN, 0, i64::MAX],
            &values,
            2,
            None,
            &[Mark {
                index: 2,
                severity: f64::NAN,
            }],
        ));
    }
    let ancient = texts(&draw(&[-211_813_488_000_000_000, 0], &noise(4), 2, None, &[]));
    assert!(ancient.contains(&"start 4714-11-24 BC".to_owned()), "{ancient:?}");
    assert!(ancient.iter().any(|t| t == "2001 BC") && ancient.iter().any(|t| t == "1000"));
}

#[test]
fn change_points_outside_or_doubled_are_left_out() {
    let marks = [0, 3, 3, 10, 11, usize::MAX].map(|index| Mark {
        index,
        severity: f64::INFINITY,
    });
    let svg = draw(&days(10), &noise(20), 2, None, &marks);
    assert_eq!(circles(&svg, "7.5"), 1);
    assert!(
        texts(&svg).contains(&"2000-01-04 00:00".to_owned()),
        "a severity that is no number is not shown"
    );
}

#[test]
fn size_is_bounded_and_the_ends_are_drawn() {
    let (n, dims) = (100_000, 4);
    let marks: Vec<Mark> = (1..n)
        .map(|index| Mark {
            index,
            severity: 1.0 / index as f64,
        })
        .collect();
    let svg = draw(&days(n), &noise(n * dims), dims, Some("large"), &marks);
    assert!(svg.len() < 1_000_000, "{} bytes", svg.len());
    let texts = texts(&svg);
    assert!(texts.iter().any(|t| t == "start 2000-01-01") && texts.iter().any(|t| t == "end 2273-10-15"));
    assert_eq!(texts.iter().filter(|t| t.contains("severity")).count(), 8);
}

#[test]
fn the_same_path_gives_the_same_picture() {
    let values = noise(300);
    assert_eq!(
        draw(&days(100), &values, 3, None, &[]),
        draw(&days(100), &values, 3, None, &[])
    );
}
