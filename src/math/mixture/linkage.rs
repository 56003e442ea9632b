//! Ways to part rows in two: the nodes of an average-linkage tree, each then moved to where it settles.

use crate::kernels::dot;

/// Rounds of moving rows before a split is taken as it is; most settle in two or three.
const ROUNDS: usize = 8;

/// Neighbours that have a say in where a row belongs.
const NEIGHBOURS: usize = 10;

/// Similarities of `len` rows: symmetric, not negative, zero on the diagonal.
pub(super) struct Similarity {
    pub(super) len: usize,
    pub(super) values: Vec<f32>,
}

/// A cluster of the tree, with what its split from all other rows needs.
struct Node {
    children: Option<(usize, usize)>,
    size: usize,
    /// Sum of the similarities of all ordered pairs of its rows.
    within: f64,
    /// Sum of the similarities of its rows to all rows.
    total: f64,
}

impl Similarity {
    pub(super) fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.len..(i + 1) * self.len]
    }

    /// Up to `most` different splits with at least `least` rows on each side, those of least similarity
    /// across first; `true` marks one side.
    pub(super) fn splits(&self, least: usize, most: usize, interrupt: &mut dyn FnMut()) -> Vec<Vec<bool>> {
        let nodes = self.tree(interrupt);
        let Some(root) = nodes.last() else {
            return Vec::new();
        };
        let mut ranked: Vec<(f64, usize)> = nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.size >= least && self.len - node.size >= least)
            .map(|(k, node)| {
                let (own, other) = (node.size, self.len - node.size);
                let across = node.total - node.within;
                let rest = root.within - node.within - 2.0 * across;
                (relative(across, node.within, rest, own, other), k)
            })
            .collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut found: Vec<Vec<bool>> = Vec::new();
        for &(_, k) in ranked.iter().take(2 * most) {
            let split = self.settled(members(&nodes, k, self.len), least, interrupt);
            if !found.iter().any(|other| same_split(other, &split)) {
                found.push(split);
            }
            if found.len() == most {
                break;
            }
        }
        found
    }

    /// The average-linkage tree, children before parents, by chains of nearest neighbours (Murtagh 1983).
    fn tree(&self, interrupt: &mut dyn FnMut()) -> Vec<Node> {
        let n = self.len;
        let mut near = self.values.clone();
        let mut nodes = self.leaves(interrupt);
        let mut active: Vec<usize> = (0..n).collect();
        let mut node_of: Vec<usize> = (0..n).collect();
        let mut chain: Vec<usize> = Vec::new();
        while active.len() > 1 {
            interrupt();
            if chain.is_empty() {
                chain.push(active[0]);
            }
            let top = chain[chain.len() - 1];
            let before = chain.len().checked_sub(2).map(|k| chain[k]);
            let next = nearest(&near[top * n..(top + 1) * n], &active, top, before);
            if Some(next) != before {
                chain.push(next);
                continue;
            }
            chain.truncate(chain.len() - 2);
            let (keep, gone) = (top.min(next), top.max(next));
            let merged = merge(
                &nodes,
                node_of[keep],
                node_of[gone],
                f64::from(near[keep * n + gone]),
            );
            let [by_keep, by_gone] = [keep, gone].map(|i| nodes[node_of[i]].size as f32 / merged.size as f32);
            active.retain(|&i| i != gone);
            for &i in &active {
                let average = by_keep * near[keep * n + i] + by_gone * near[gone * n + i];
                near[keep * n + i] = average;
                near[i * n + keep] = average;
            }
            node_of[keep] = nodes.len();
            nodes.push(merged);
        }
        nodes
    }

    fn leaves(&self, interrupt: &mut dyn FnMut()) -> Vec<Node> {
        let leaf = |i: usize| {
            if i.is_multiple_of(256) {
                interrupt();
            }
            Node {
                children: None,
                size: 1,
                within: 0.0,
                total: self.row(i).iter().map(|&s| f64::from(s)).sum(),
            }
        };
        (0..self.len).map(leaf).collect()
    }

    /// Moves each row to the side that it is more like, relative to how alike the rows of that side are,
    /// until none moves. A side that would fall below `least` rows ends it.
    fn settled(&self, mut side: Vec<bool>, least: usize, interrupt: &mut dyn FnMut()) -> Vec<bool> {
        for _ in 0..ROUNDS {
            let (affinity, likeness) = self.affinities(&side, interrupt);
            let moved: Vec<bool> = affinity
                .iter()
                .map(|&pair| more_like_second(pair, likeness))
                .collect();
            let count = moved.iter().filter(|&&s| s).count();
            if moved == side || count < least || self.len - count < least {
                break;
            }
            side = moved;
        }
        let voted = self.voted(&side, interrupt);
        let count = voted.iter().filter(|&&s| s).count();
        if count < least || self.len - count < least {
            return side;
        }
        voted
    }

    /// The side of most of each row's nearest neighbours, by their similarity: those hardly ever lie in
    /// another space, where a row that is like few others may be taken for one of the smaller side.
    fn voted(&self, side: &[bool], interrupt: &mut dyn FnMut()) -> Vec<bool> {
        (0..self.len)
            .map(|i| {
                if i % 64 == 0 {
                    interrupt();
                }
                let nearest = largest(self.row(i));
                let signed = |&(s, j): &(f32, usize)| if side[j] { s } else { -s };
                let vote: f32 = nearest.iter().map(signed).sum();
                if vote == 0.0 { side[i] } else { vote > 0.0 }
            })
            .collect()
    }

    /// The mean similarity of each row to the `false` and to the `true` side (itself left out), and of each
    /// side the mean similarity of two of its rows.
    pub(super) fn affinities(&self, side: &[bool], interrupt: &mut dyn FnMut()) -> (Vec<[f64; 2]>, [f64; 2]) {
        let second: Vec<f32> = side.iter().map(|&s| if s { 1.0 } else { 0.0 }).collect();
        let first: Vec<f32> = second.iter().map(|s| 1.0 - s).collect();
        let sides = [first, second].map(|weights| (weights.iter().sum::<f32>(), weights));
        let mut mean = Vec::with_capacity(self.len);
        for i in 0..self.len {
            if i % 64 == 0 {
                interrupt();
            }
            mean.push(
                sides.each_ref().map(|(count, weights)| {
                    dot(self.row(i), weights) / f64::from(count - weights[i]).max(1.0)
                }),
            );
        }
        let likeness = [false, true].map(|which| own_likeness(&mean, side, which));
        (mean, likeness)
    }
}

/// Which side a row belongs to, by its mean similarities to both, each relative to how alike that side's rows
/// are.
pub(super) fn more_like_second(affinity: [f64; 2], likeness: [f64; 2]) -> bool {
    affinity[1] * likeness[0].sqrt() > affinity[0] * likeness[1].sqrt()
}

/// Mean over the rows of one side of their mean similarity to it.
fn own_likeness(mean: &[[f64; 2]], side: &[bool], which: bool) -> f64 {
    let own = || mean.iter().zip(side).filter(|&(_, &s)| s == which);
    own().map(|(pair, _)| pair[usize::from(which)]).sum::<f64>() / own().count().max(1) as f64
}

/// Mean similarity across, over the geometric mean of those within (the cosine of the sides' means in the
/// space of the kernel); sides without any similarity count as unlike.
fn relative(across: f64, within: f64, rest: f64, own: usize, other: usize) -> f64 {
    let pairs = |n: usize| (n as f64 * (n as f64 - 1.0)).max(1.0);
    let scale = (within / pairs(own)).max(0.0) * (rest / pairs(other)).max(0.0);
    if scale > 0.0 {
        across / (own as f64 * other as f64) / scale.sqrt()
    } else {
        f64::INFINITY
    }
}

fn merge(nodes: &[Node], a: usize, b: usize, similarity: f64) -> Node {
    let (x, y) = (&nodes[a], &nodes[b]);
    Node {
        children: Some((a, b)),
        size: x.size + y.size,
        within: x.within + y.within + 2.0 * (x.size * y.size) as f64 * similarity,
        total: x.total + y.total,
    }
}

/// The active row most similar to `top`; on a tie `before`, so that chains end, else the first.
fn nearest(row: &[f32], active: &[usize], top: usize, before: Option<usize>) -> usize {
    let mut best = before.unwrap_or(usize::MAX);
    let mut most = before.map_or(f32::NEG_INFINITY, |b| row[b]);
    for &i in active {
        if i != top && row[i] > most {
            most = row[i];
            best = i;
        }
    }
    best
}

/// The largest positive entries, in falling order, and where they are; the first of equal ones.
fn largest(row: &[f32]) -> [(f32, usize); NEIGHBOURS] {
    let mut found = [(0.0, 0); NEIGHBOURS];
    for (j, &s) in row.iter().enumerate() {
        if s > found[NEIGHBOURS - 1].0 {
            let at = found.partition_point(|&(other, _)| other >= s);
            found.copy_within(at..NEIGHBOURS - 1, at + 1);
            found[at] = (s, j);
        }
    }
    found
}

fn members(nodes: &[Node], top: usize, len: usize) -> Vec<bool> {
    let mut side = vec![false; len];
    let mut open = vec![top];
    while let Some(k) = open.pop() {
        match nodes[k].children {
            Some((a, b)) => open.extend([a, b]),
            None => side[k] = true,
        }
    }
    side
}

/// Whether two splits part the rows alike, whichever side is marked.
fn same_split(a: &[bool], b: &[bool]) -> bool {
    let differ = a.iter().zip(b).filter(|(x, y)| x != y).count();
    differ == 0 || differ == a.len()
}
