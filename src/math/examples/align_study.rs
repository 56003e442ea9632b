//! Fits maps to pairs in files, and prints what they are worth and how long they took.
//!
//! `align_study FROM TO ENTITY FROM_DIMS TO_DIMS [OUT]`: little-endian `f32` rows, `f32` rows, `u32` numbers;
//! with OUT the maps are written to `OUT.<method>.forward` and `.backward` as `Map::to_bytes` gives them.

use std::error::Error;
use std::time::Instant;

use cvx_math::align::{Choice, Method, Pairs, fit};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, entity, from_dims, to_dims, out @ ..] = args.as_slice() else {
        return Err("expected: FROM TO ENTITY FROM_DIMS TO_DIMS [OUT]".into());
    };
    let words = |path: &String| -> Result<Vec<[u8; 4]>, std::io::Error> {
        Ok(std::fs::read(path)?.as_chunks::<4>().0.to_vec())
    };
    let floats = |path| words(path).map(|it| it.into_iter().map(f32::from_le_bytes).collect::<Vec<f32>>());
    let (from, to) = (floats(from)?, floats(to)?);
    let entity: Vec<u32> = words(entity)?.into_iter().map(u32::from_le_bytes).collect();
    let pairs = Pairs {
        from: &from,
        to: &to,
        from_dims: from_dims.parse()?,
        to_dims: to_dims.parse()?,
        entity: &entity,
    };
    let choices = [
        ("procrustes", Choice::One(Method::Procrustes)),
        ("affine", Choice::One(Method::Affine)),
        ("cca", Choice::One(Method::Cca)),
        ("auto", Choice::Auto),
    ];
    for (name, choice) in choices {
        let start = Instant::now();
        let mut longest = 0.0f64;
        let mut last = start;
        let mut interrupt = || {
            let now = Instant::now();
            longest = longest.max((now - last).as_secs_f64());
            last = now;
        };
        let found = fit(&pairs, choice, &mut interrupt);
        let seconds = start.elapsed().as_secs_f64();
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                println!("{name}: {error}");
                continue;
            }
        };
        println!(
            "{name}: {seconds:.3} s (longest wait {longest:.3} s), {:?}, scale {:?}, ridge {:?}, rank {}, {:?}",
            found.method, found.scale, found.ridge, found.rank, found.quality
        );
        if let [head, .., tail] = found.correlations.as_slice() {
            println!("  correlations {head} to {tail}, mean {}", {
                found.correlations.iter().sum::<f64>() / found.correlations.len() as f64
            });
        }
        if let [out] = out {
            std::fs::write(format!("{out}.{name}.forward"), found.forward.to_bytes())?;
            std::fs::write(format!("{out}.{name}.backward"), found.backward.to_bytes())?;
        }
    }
    Ok(())
}
