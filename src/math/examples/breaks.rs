//! Change points of trajectories in a binary file, for comparison with an oracle.
//!
//! Input, little endian: per trajectory u32 points, u32 dims, then f32 rows; to the end of the file.
//! `breaks FILE l2|cosine|rbf MIN_SIZE PENALTY|auto|ar [GAMMA|-] [ALPHA]` prints a line of break indexes each,
//! and to stderr the time taken without reading the file. `auto` calibrates, `ar` for autocorrelated noise.

use cvx_math::Path;
use cvx_math::changepoints::{Cost, Options, changepoints};
use std::error::Error;
use std::time::Instant;

type Trajectories = Vec<(usize, Vec<f32>)>;

fn read(path: &str) -> Result<Trajectories, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let words: Vec<[u8; 4]> = bytes.as_chunks().0.to_vec();
    let mut at = 0;
    let mut all = Vec::new();
    while at + 2 <= words.len() {
        let (n, dims) = (
            u32::from_le_bytes(words[at]) as usize,
            u32::from_le_bytes(words[at + 1]) as usize,
        );
        let values = words.get(at + 2..at + 2 + n * dims).ok_or("truncated file")?;
        all.push((dims, values.iter().map(|&w| f32::from_le_bytes(w)).collect()));
        at += 2 + n * dims;
    }
    Ok(all)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, cost, min_size, penalty, rest @ ..] = args.as_slice() else {
        return Err("usage: breaks FILE l2|cosine|rbf MIN_SIZE PENALTY|auto|ar [GAMMA|-] [ALPHA]".into());
    };
    let gamma = rest
        .first()
        .filter(|g| *g != "-")
        .map(|g| g.parse())
        .transpose()?;
    let cost = match cost.as_str() {
        "l2" => Cost::L2,
        "cosine" => Cost::Cosine,
        "rbf" => Cost::Rbf { gamma },
        other => return Err(format!("unknown cost {other}").into()),
    };
    let autocorrelated = penalty == "ar";
    let penalty = if autocorrelated || penalty == "auto" {
        None
    } else {
        Some(penalty.parse()?)
    };
    let alpha = rest.get(1).map(|a| a.parse()).transpose()?.unwrap_or(0.05);
    let options = Options {
        cost,
        penalty,
        min_size: min_size.parse()?,
        alpha,
        autocorrelated,
    };
    let trajectories = read(file)?;
    let started = Instant::now();
    let mut lines = Vec::new();
    for (dims, values) in &trajectories {
        let times: Vec<i64> = (0..(values.len() / dims) as i64).collect();
        let found = changepoints(Path::new(&times, values, *dims), &options, &mut || ())?;
        lines.push(
            found
                .change_points
                .iter()
                .map(|c| c.index.to_string())
                .collect::<Vec<_>>()
                .join(" "),
        );
    }
    eprintln!("{:.6} s", started.elapsed().as_secs_f64());
    println!("{}", lines.join("\n"));
    Ok(())
}
