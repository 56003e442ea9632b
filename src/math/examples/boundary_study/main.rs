//! Study of verdicts at boundaries of model versions.
//!
//! `boundary_study file FILE`: the verdicts on trajectories made elsewhere (see `arrays`).

mod arrays;

use cvx_math::changepoints::Options;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["file", file] => arrays::run(file, &Options::default()),
        _ => Err("usage: boundary_study file FILE".into()),
    }
}
