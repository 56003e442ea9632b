//! Where the error of a map was measured, and what to expect of it elsewhere: the error of the nearest of those points.

use crate::align::Map;

/// How many of the nearest anchors are averaged.
const NEIGHBOURS: usize = 8;
/// Rows that are compared with all anchors at a time.
const BLOCK: usize = 256;

/// Points of a space, and the measured error of the map at each: `k × dims`, row-major, and `k`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Anchors {
    pub dims: usize,
    pub points: Vec<f32>,
    pub errors: Vec<f32>,
}

impl Anchors {
    /// Bytes: dims and k as u32, the errors, the points, all little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + 4 * (self.errors.len() + self.points.len()));
        out.extend_from_slice(&(self.dims as u32).to_le_bytes());
        out.extend_from_slice(&(self.errors.len() as u32).to_le_bytes());
        for x in self.errors.iter().chain(&self.points) {
            out.extend_from_slice(&x.to_le_bytes());
        }
        out
    }

    /// What `to_bytes` wrote; None for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Anchors> {
        let (head, body) = bytes.split_at_checked(8)?;
        let number = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?) as usize);
        let (dims, count) = (number(0)?, number(4)?);
        let floats = count.checked_mul(dims.checked_add(1)?)?;
        if Some(body.len()) != floats.checked_mul(4) {
            return None;
        }
        let mut values = body.as_chunks::<4>().0.iter().map(|it| f32::from_le_bytes(*it));
        let errors: Vec<f32> = values.by_ref().take(count).collect();
        let points: Vec<f32> = values.collect();
        let sane = errors.iter().all(|e| e.is_finite() && *e >= 0.0) && points.iter().all(|x| x.is_finite());
        sane.then_some(Anchors { dims, points, errors })
    }

    /// The same points seen through a map, which stretches the errors by `gain`.
    pub fn through(&self, map: &Map, gain: f64) -> Anchors {
        let mut points = vec![0.0; self.errors.len() * map.to_dims];
        map.apply_rows(&self.points, &mut points);
        Anchors {
            dims: map.to_dims,
            points,
            errors: self
                .errors
                .iter()
                .map(|&e| (f64::from(e) * gain) as f32)
                .collect(),
        }
    }

    /// Ready to be searched.
    pub fn index(self) -> Nearest {
        // The nearest point a of x has the largest a·x - |a|²/2: a product of matrices.
        let offset = self
            .points
            .chunks_exact(self.dims.max(1))
            .map(|a| -(0.5 * crate::kernels::dot(a, a)) as f32)
            .collect();
        Nearest {
            scores: Map {
                from_dims: self.dims,
                to_dims: self.errors.len(),
                weights: self.points,
                offset,
            },
            errors: self.errors,
        }
    }
}

/// Anchors that can be searched.
#[derive(Clone, Debug)]
pub struct Nearest {
    scores: Map,
    errors: Vec<f32>,
}

impl Nearest {
    /// Memory held.
    pub fn bytes(&self) -> usize {
        self.scores.bytes() + 4 * self.errors.len()
    }

    /// For each of the rows (`n × dims`) the mean error of the 8 anchors nearest to it; None without anchors.
    pub fn expected(&self, rows: &[f32]) -> Option<Vec<f64>> {
        let (dims, count) = (self.scores.from_dims, self.errors.len());
        if count == 0 || dims == 0 {
            return None;
        }
        let mut expected = Vec::with_capacity(rows.len() / dims);
        let mut scores = vec![0.0f32; BLOCK * count];
        for block in rows.chunks(BLOCK * dims) {
            let scores = &mut scores[..block.len() / dims * count];
            self.scores.apply_rows(block, scores);
            for row in scores.chunks_exact(count) {
                let nearest = &largest(row)[..NEIGHBOURS.min(count)];
                let sum: f64 = nearest.iter().map(|&i| f64::from(self.errors[i])).sum();
                expected.push(sum / nearest.len() as f64);
            }
        }
        Some(expected)
    }
}

/// The places of the 8 largest scores, in that order; of equal ones the first. Of fewer scores the rest is 0.
fn largest(scores: &[f32]) -> [usize; NEIGHBOURS] {
    let mut kept = [(f32::NEG_INFINITY, 0); NEIGHBOURS];
    let mut least = f32::NEG_INFINITY;
    for (place, &score) in scores.iter().enumerate() {
        if place >= NEIGHBOURS && score <= least {
            continue;
        }
        let mut at = place.min(NEIGHBOURS - 1);
        while at > 0 && kept[at - 1].0 < score {
            kept[at] = kept[at - 1];
            at -= 1;
        }
        kept[at] = (score, place);
        least = kept[NEIGHBOURS - 1].0;
    }
    kept.map(|it| it.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchors(count: usize) -> Anchors {
        Anchors {
            dims: 2,
            points: (0..count).flat_map(|i| [i as f32, 0.0]).collect(),
            errors: (0..count).map(|i| i as f32).collect(),
        }
    }

    #[test]
    fn the_nearest_eight_are_averaged() {
        let nearest = anchors(100).index();
        let expected = nearest.expected(&[50.1, 0.0, -7.0, 3.0]).unwrap();
        assert_eq!(expected, [50.5, 3.5]);
        assert_eq!(anchors(3).index().expected(&[9.0, 9.0]).unwrap(), [1.0]);
        assert_eq!(Anchors::default().index().expected(&[]), None);
        let many: Vec<f32> = (0..1000).flat_map(|i| [(i % 90) as f32 + 0.1, 0.0]).collect();
        let expected = nearest.expected(&many).unwrap();
        assert_eq!((expected.len(), expected[20], expected[920]), (1000, 20.5, 20.5));
    }

    #[test]
    fn a_map_moves_points_and_stretches_errors() {
        let twice = Map {
            from_dims: 2,
            to_dims: 2,
            weights: vec![0.0, -2.0, 2.0, 0.0],
            offset: vec![1.0, 1.0],
        };
        let seen = anchors(2).through(&twice, 2.0);
        assert_eq!(
            (seen.points, seen.errors),
            (vec![1.0, 1.0, 1.0, 3.0], vec![0.0, 2.0])
        );
    }

    #[test]
    fn bytes_come_back_and_damage_is_refused() {
        let it = anchors(5);
        let bytes = it.to_bytes();
        assert_eq!(Anchors::from_bytes(&bytes), Some(it));
        for cut in 0..bytes.len() {
            assert_eq!(Anchors::from_bytes(&bytes[..cut]), None);
        }
        let mut wrong = bytes.clone();
        wrong[4] = 255;
        assert_eq!(Anchors::from_bytes(&wrong), None);
        let mut negative = bytes;
        negative[8..12].copy_from_slice(&(-1.0f32).to_le_bytes());
        assert_eq!(Anchors::from_bytes(&negative), None);
        assert_eq!(Anchors::from_bytes(&[255; 8]), None);
    }
}
