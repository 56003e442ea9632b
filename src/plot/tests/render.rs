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

fn mark(index: usize, severity: f64) -> Mark {
    Mark {
        index,
        severity,
        artifact: false,
    }
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
    let svg = draw(&days(60), &values, 8, Some("one shift"), &[mark(40, 0.914)]);
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
    let mark = [mark(1, 0.5)];
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
            &[mark(2, f64::NAN)],
        ));
    }
    let ancient = texts(&draw(&[-211_813_488_000_000_000, 0], &noise(4), 2, None, &[]));
    assert!(ancient.contains(&"start 4714-11-24 BC".to_owned()), "{ancient:?}");
    assert!(ancient.iter().any(|t| t == "2001 BC") && ancient.iter().any(|t| t == "1000"));
}

#[test]
fn change_points_outside_or_doubled_are_left_out() {
    let marks = [0, 3, 3, 10, 11, usize::MAX].map(|index| mark(index, f64::INFINITY));
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
    let marks: Vec<Mark> = (1..n).map(|index| mark(index, 1.0 / index as f64)).collect();
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

/// `values` in two dimensions, a point a day, coloured by version.
fn draw_versions(values: &[f32], of: &[u16], names: &[&str], change_points: &[Mark]) -> String {
    let times = days(values.len() / 2);
    Plot {
        path: Path::new(&times, values, 2),
        title: Some("versions"),
        change_points,
        colouring: Colouring::Version { of, names },
    }
    .render()
}

/// The paths drawn in dashes, of the line and not of the legend.
fn dashed_pieces(svg: &str) -> usize {
    let document = Document::parse(svg).unwrap();
    document
        .descendants()
        .filter(|n| n.attribute("stroke-dasharray") == Some("5 4"))
        .map(|n| n.attribute("d").unwrap().matches('M').count())
        .sum()
}

fn filled(svg: &str, colour: &str, radius: &str) -> usize {
    let document = Document::parse(svg).unwrap();
    document
        .descendants()
        .filter(|n| n.attribute("fill") == Some(colour) && n.attribute("r") == Some(radius))
        .count()
}

#[test]
fn versions_have_colours_names_dates_and_a_boundary() {
    let of: Vec<u16> = (0..60).map(|i| if i < 35 { 1 } else { 0 }).collect();
    let svg = draw_versions(&noise(120), &of, &["v2 <new>", "v1"], &[]);
    let texts = texts(&svg);
    for wanted in [
        "60 points in 2 dimensions, 2000-01-01 to 2000-02-29, 2 model versions",
        "model version",
        "v1",
        "2000-01-01 – 2000-02-04",
        "v2 <new>",
        "2000-02-05 – 2000-02-29",
        "model version changes",
    ] {
        assert!(texts.iter().any(|t| t == wanted), "{wanted}: {texts:?}");
    }
    let place = |text: &str| texts.iter().position(|t| t == text);
    assert!(place("v1") < place("v2 <new>"), "in the order of time");
    assert_eq!(
        (filled(&svg, "#e69f00", "4.2"), filled(&svg, "#0072b2", "4.2")),
        (35, 25)
    );
    assert_eq!(
        (filled(&svg, "#e69f00", "4.6"), filled(&svg, "#0072b2", "4.6")),
        (1, 1),
        "the legend has the colours of the points"
    );
    assert_eq!(dashed_pieces(&svg), 1);
    assert!(!svg.contains("cvx-time"), "no bar of time");

    let single = draw_versions(&noise(120), &[0; 60], &["only"], &[]);
    assert_eq!(dashed_pieces(&single), 0);
    assert!(!single.contains("model version changes") && single.contains(", 1 model version<"));
}

#[test]
fn a_change_that_the_retrain_explains_is_not_drawn_as_one() {
    let artifact = Mark {
        artifact: true,
        ..mark(20, 0.99)
    };
    let of: Vec<u16> = (0..60).map(|i| u16::from(i >= 20)).collect();
    let rings = |svg: &str, stroke: &str| {
        let document = Document::parse(svg).unwrap();
        let ring = |n: &roxmltree::Node| n.attribute("r") == Some("7.5");
        document
            .descendants()
            .filter(ring)
            .filter(|n| n.attribute("stroke").or(n.parent().unwrap().attribute("stroke")) == Some(stroke))
            .count()
    };
    let (red, grey) = ("#c92a2a", "#5f6b76");
    let both = draw_versions(&noise(120), &of, &["a", "b"], &[artifact, mark(40, 0.6)]);
    assert_eq!((rings(&both, red), rings(&both, grey)), (1, 1));
    let said = texts(&both);
    for wanted in [
        "60 points in 2 dimensions, 2000-01-01 to 2000-02-29, 2 model versions, 2 change points (1 explained by the retrain)",
        "first point after a change",
        "explained by the retrain",
        "mean of each segment",
    ] {
        assert!(said.iter().any(|t| t == wanted), "{wanted}: {said:?}");
    }
    let alone = draw(&days(60), &noise(120), 2, None, &[artifact]);
    assert_eq!((rings(&alone, red), rings(&alone, grey)), (0, 1));
    let said = texts(&alone);
    assert!(said.iter().any(|t| t == "explained by the retrain"), "{said:?}");
    assert!(
        !said.iter().any(|t| t == "first point after a change"),
        "{said:?}"
    );
    assert!(
        !alone.contains("stroke=\"#c92a2a\" stroke-width=\"1.8\"") && !alone.contains("fill=\"#c92a2a\"")
    );
}

#[test]
fn real_changes_are_labelled_before_those_of_a_retrain() {
    let marks: Vec<Mark> = (1..30)
        .map(|k| Mark {
            artifact: k != 7,
            ..mark(k, if k == 7 { 0.01 } else { 0.9 })
        })
        .collect();
    let texts = texts(&draw(&days(60), &noise(120), 2, None, &marks));
    assert!(
        texts.iter().any(|t| t == "2000-01-08, severity 0.01"),
        "{texts:?}"
    );
}

#[test]
fn hostile_names_and_numbers_are_drawn() {
    let long = "<".repeat(1_000_000);
    let names = [
        "</text><script>",
        "\0\u{202e}",
        " ",
        "数🙂数🙂数🙂数🙂数🙂数🙂",
        &long,
        "\"' ]]>&",
    ];
    let of: Vec<u16> = (0..60)
        .map(|i| if i == 59 { u16::MAX } else { i as u16 % 6 })
        .collect();
    let svg = draw_versions(&noise(120), &of, &names, &[mark(30, 0.5)]);
    let said = texts(&svg);
    for wanted in [
        "</text><script>",
        "unnamed, number 1",
        "unnamed, number 2",
        "unnamed, number 65535",
        "\"' ]]>&",
    ] {
        assert!(said.iter().any(|t| t == wanted), "{wanted}: {said:?}");
    }
    assert!(
        said.iter().any(|t| t.starts_with("<<<") && t.ends_with("<…")),
        "{said:?}"
    );
    assert!(!svg.contains("<script") && svg.len() < 60_000, "{}", svg.len());
    assert_eq!(dashed_pieces(&svg), 1, "every joint is a boundary");

    let nameless = draw_versions(&noise(4), &[0, 1], &[], &[]);
    assert!(texts(&nameless).contains(&"unnamed, number 0".to_owned()));
}

#[test]
fn versions_that_are_not_one_a_point_leave_the_colours_to_time() {
    let values = noise(120);
    let by_time = draw(&days(60), &values, 2, Some("versions"), &[mark(9, 0.5)]);
    for of in [vec![], vec![0; 59], vec![0; 61]] {
        assert_eq!(draw_versions(&values, &of, &["a"], &[mark(9, 0.5)]), by_time);
    }
    assert!(texts(&draw_versions(&[], &[], &["a"], &[])).contains(&"empty trajectory".to_owned()));
    let one = texts(&draw_versions(&[1.0, 2.0], &[0], &["a"], &[]));
    assert!(one.contains(&"a".to_owned()), "{one:?}");
}

#[test]
fn many_versions_and_points_stay_within_the_picture() {
    let n = 70_000;
    let names: Vec<String> = (0..=u16::MAX).map(|k| format!("version {k}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let of: Vec<u16> = (0..n).map(|i| i as u16).collect();
    let svg = draw_versions(&noise(2 * n), &of, &names, &[mark(5, 0.5), mark(9, 0.5)]);
    let said = texts(&svg);
    let named = said.iter().filter(|t| t.starts_with("version ")).count();
    assert_eq!(named, 12);
    assert!(said.contains(&"and 65524 more".to_owned()), "{said:?}");
    assert!(svg.len() < 1_000_000, "{} bytes", svg.len());
    let document = Document::parse(&svg).unwrap();
    let lowest = document
        .descendants()
        .filter(|n| n.has_tag_name("text"))
        .filter_map(|n| n.attribute("y")?.parse::<f64>().ok())
        .fold(0.0, f64::max);
    assert!(lowest < 636.0, "{lowest}");
    let hints = draw_versions(&noise(2000), &of[..1000], &["<\"'".repeat(40).as_str()], &[]);
    assert!(hints.len() < 1_000_000, "{} bytes", hints.len());
}
