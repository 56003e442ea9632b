//! Trajectories and residuals made elsewhere, in a binary file, little endian.
//!
//! u32 number of error models; each: u32 residuals, u32 dims, their entities (u32), their values and those of
//! the true vectors (f32, row-major). Then trajectories to the end of the file: u32 points, u32 dims, u32
//! boundaries; each boundary: u32 index, u32 error model; the values (f32). One line is printed for each:
//! `index:R|A:confidence:severity:boundary|-` for every entry.

use cvx_math::Path;
use cvx_math::boundary::{Boundary, Classification, ErrorModel, model_changepoints};
use cvx_math::changepoints::Options;
use std::error::Error;

struct Words {
    words: Vec<[u8; 4]>,
    at: usize,
}

impl Words {
    fn take(&mut self, count: usize) -> Result<&[[u8; 4]], Box<dyn Error>> {
        let taken = self.words.get(self.at..self.at + count).ok_or("truncated file")?;
        self.at += count;
        Ok(taken)
    }

    fn number(&mut self) -> Result<usize, Box<dyn Error>> {
        Ok(u32::from_le_bytes(self.take(1)?[0]) as usize)
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>, Box<dyn Error>> {
        Ok(self.take(count)?.iter().map(|&w| f32::from_le_bytes(w)).collect())
    }
}

pub fn run(file: &str, options: &Options) -> Result<(), Box<dyn Error>> {
    let bytes = std::fs::read(file)?;
    let mut words = Words {
        words: bytes.as_chunks().0.to_vec(),
        at: 0,
    };
    let mut models = Vec::new();
    for _ in 0..words.number()? {
        let (count, dims) = (words.number()?, words.number()?);
        let entity: Vec<u32> = words
            .take(count)?
            .iter()
            .map(|&w| u32::from_le_bytes(w))
            .collect();
        let residuals = words.floats(count * dims)?;
        let truth = words.floats(count * dims)?;
        let model = ErrorModel::of_pairs(&residuals, &truth, &entity, dims).unwrap_or(ErrorModel::UNKNOWN);
        eprintln!("{model:?}");
        models.push(model);
    }
    while words.at < words.words.len() {
        let (count, dims) = (words.number()?, words.number()?);
        let mut boundaries = Vec::new();
        for _ in 0..words.number()? {
            let (index, model) = (words.number()?, words.number()?);
            let error = *models.get(model).ok_or("unknown error model")?;
            boundaries.push(Boundary { index, error });
        }
        let values = words.floats(count * dims)?;
        let times: Vec<i64> = (0..count as i64).collect();
        let found = model_changepoints(Path::new(&times, &values, dims), &boundaries, options, &mut || ())?;
        let entries = found.iter().map(|c| {
            let class = match c.classification {
                Classification::RealChange => 'R',
                Classification::ModelArtifact => 'A',
            };
            let boundary = c.boundary.map_or("-".into(), |b| b.to_string());
            format!(
                "{}:{class}:{:.4}:{:.4}:{boundary}",
                c.index, c.confidence, c.severity
            )
        });
        println!("{}", entries.collect::<Vec<_>>().join(" "));
    }
    Ok(())
}
