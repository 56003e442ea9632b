use super::parse_f32;

/// A generator of test input (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// The text is one number, read to its end, with the bits of the standard library's, which rounds correctly.
fn check(text: &str) {
    let expected: f32 = text.parse().unwrap();
    let (found, end) = parse_f32(text.as_bytes(), 0).unwrap_or_else(|| panic!("{text} is a number"));
    assert_eq!(end, text.len(), "{text}");
    assert_eq!(
        found.to_bits(),
        expected.to_bits(),
        "{text}: {found} is not {expected}"
    );
}

#[test]
fn every_way_to_print_a_float_reads_back() {
    let mut random = SplitMix(1);
    for _ in 0..300_000 {
        let x = f32::from_bits(random.next() as u32);
        if x.is_finite() {
            for text in [
                format!("{x:?}"),
                format!("{x:e}"),
                format!("{}", f64::from(x)),
                format!("{x:.9}"),
            ] {
                check(&text);
            }
        }
        // What encoders print of normalized vectors.
        let y = (random.next() >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
        for text in [
            format!("{y}"),
            format!("{y:.6}"),
            format!("{y:e}"),
            format!("{y:.19}"),
            format!("{y:.30}"),
        ] {
            check(&text);
        }
    }
}

#[test]
fn the_middle_between_two_floats_goes_to_the_even_one() {
    let mut random = SplitMix(2);
    for _ in 0..200_000 {
        let x = f32::from_bits(random.below(0x7f00_0000) as u32);
        let next = f32::from_bits(x.to_bits() + 1);
        let middle = (f64::from(x) + f64::from(next)) / 2.0;
        // Exact in decimal, and cut or lengthened by a little.
        let exact = format!("{middle:.170}");
        check(&exact);
        check(&format!("{exact}1"));
        check(&format!("{middle}"));
        check(&format!("{middle:.17e}"));
        for ulps in [-3_i64, -2, -1, 1, 2, 3] {
            let beside = f64::from_bits(middle.to_bits().wrapping_add_signed(ulps));
            check(&format!("{beside:e}"));
        }
    }
    check("16777217");
    check("16777219");
    check("16777217.000000000000000000000000000000000001");
    check("9007199791611905");
}

#[test]
fn digits_of_every_number_and_exponent() {
    let mut random = SplitMix(3);
    for _ in 0..300_000 {
        let mut text = String::new();
        if random.below(2) == 0 {
            text.push('-');
        }
        let whole = random.below(24);
        if whole == 0 {
            text.push('0');
        }
        for i in 0..whole {
            let low = u64::from(i == 0);
            text.push(char::from(b'0' + (low + random.below(10 - low)) as u8));
        }
        let places = random.below(40);
        if places > 0 {
            text.push('.');
            let zeros = random.below(places + 1);
            for i in 0..places {
                let digit = if i < zeros { 0 } else { random.below(10) };
                text.push(char::from(b'0' + digit as u8));
            }
        }
        match random.below(4) {
            0 => text += &format!("e{}", random.below(90) as i64 - 45),
            1 => text += &format!("E+{:02}", random.below(50)),
            _ => {}
        }
        check(&text);
    }
    for text in [
        "0",
        "-0",
        "0.0",
        "-0.000e5",
        "1e-400",
        "1e400",
        "-1e99999999999999999999",
        "0e99999999999999999999",
        "3.4028235e38",
        "3.4028236e38",
        "340282356779733661637539395458142568447",
        "340282356779733661637539395458142568448",
        "1.401298464324817e-45",
        "7.006492321624085e-46",
        "7.006492321624086e-46",
        "1.1754943508222875e-38",
        "00000".trim_start_matches("0000"),
    ] {
        check(text);
    }
}

/// A text is read to its end exactly where serde_json takes it.
#[test]
fn the_grammar_is_jsons() {
    let mut random = SplitMix(4);
    let alphabet = b"00123456789.-+eEx";
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..2_000_000 {
        let length = 1 + random.below(10) as usize;
        let text: String = (0..length)
            .map(|_| char::from(alphabet[random.below(alphabet.len() as u64) as usize]))
            .collect();
        let ours = parse_f32(text.as_bytes(), 0).is_some_and(|(_, end)| end == length);
        match serde_json::from_str::<f64>(&text) {
            Ok(_) => {
                assert!(ours, "{text}");
                taken += 1;
            }
            // Beyond a double's range, which it says before it has seen the rest.
            Err(error) if error.to_string().contains("out of range") => {}
            Err(_) => {
                assert!(!ours, "{text}");
                refused += 1;
            }
        }
    }
    assert!(taken > 100_000 && refused > 1_000_000, "{taken} {refused}");
    for text in [
        "",
        "-",
        ".5",
        "1.",
        "+1",
        "e5",
        "1e",
        "1e+",
        "NaN",
        "Infinity",
        "-Infinity",
        "0x10",
        " 1",
    ] {
        assert!(
            parse_f32(text.as_bytes(), 0).is_none_or(|(_, end)| end < text.len()),
            "{text}"
        );
    }
    assert_eq!(parse_f32(b"[0.5]", 1), Some((0.5, 4)));
    assert_eq!(parse_f32(b"1", 9), None);
}
