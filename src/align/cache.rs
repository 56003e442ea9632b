//! The maps between spaces that a session keeps. README.md says how they stay true.

use std::cell::RefCell;
use std::rc::Rc;

use cvx_math::align::Map;
use cvx_math::anchors::Nearest;
use pgrx::pg_sys::panic::ErrorReport;

use super::chain::{Chain, Step};
use super::errors;
use crate::catalog::alignment;
use crate::catalog::model;
use crate::catalog::space::Space;
use crate::catalog::statement::Moment;
use crate::error::Error;
use crate::guc;

/// What a product was made of: the fits along its path, with the direction of each.
type Recipe = Vec<(model::Revision, alignment::Direction)>;

/// A product is found again by what it was made of and what it is.
struct Kept {
    recipe: Recipe,
    product: Product,
}

#[derive(Clone)]
enum Product {
    Map(Rc<Map>),
    Anchors(Rc<Nearest>),
}

impl Product {
    fn bytes(&self) -> usize {
        match self {
            Product::Map(it) => it.bytes(),
            Product::Anchors(it) => it.bytes(),
        }
    }
}

/// What leads from one space to another.
#[derive(Clone)]
pub enum Projection {
    /// Both are the same space, of these dimensions.
    Same(usize),
    Along(Rc<Map>),
}

impl Projection {
    /// Of the space it starts from and of the one it leads to.
    pub fn dims(&self) -> (usize, usize) {
        match self {
            Projection::Same(dims) => (*dims, *dims),
            Projection::Along(map) => (map.from_dims, map.to_dims),
        }
    }

    pub fn apply(&self, x: &[f32], out: &mut [f32]) {
        match self {
            Projection::Same(_) => out.copy_from_slice(x),
            Projection::Along(map) => map.apply(x, out),
        }
    }

    pub fn apply_rows(&self, rows: &[f32], out: &mut [f32]) {
        match self {
            Projection::Same(_) => out.copy_from_slice(rows),
            Projection::Along(map) => map.apply_rows(rows, out),
        }
    }
}

#[derive(Default)]
struct Cache {
    /// The longest unused first.
    kept: Vec<Kept>,
    /// The maps between spaces by name that the current statement has asked for.
    at: Option<Moment>,
    named: Vec<(String, String, Projection)>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// The way from one space to another of the same model.
pub fn between(from_space: &str, to_space: &str) -> Result<Projection, ErrorReport> {
    let now = Moment::now();
    let found = CACHE.with_borrow_mut(|cache| {
        if cache.at != Some(now) {
            cache.at = Some(now);
            cache.named.clear();
        }
        let mut named = cache.named.iter();
        named
            .find(|(from, to, _)| from == from_space && to == to_space)
            .map(|(_, _, projection)| projection.clone())
    });
    if let Some(projection) = found {
        return Ok(projection);
    }
    let projection = resolve(from_space, to_space)?;
    if let Projection::Along(map) = &projection
        && map.bytes() > guc::projection_cache_bytes()
    {
        // The statement goes on with it, row after row; nobody keeps it after that.
        pgrx::register_xact_callback(pgrx::PgXactCallbackEvent::Commit, forget_statement);
        pgrx::register_xact_callback(pgrx::PgXactCallbackEvent::Abort, forget_statement);
    }
    CACHE.with_borrow_mut(|cache| {
        let entry = (from_space.to_owned(), to_space.to_owned(), projection.clone());
        cache.named.push(entry);
    });
    Ok(projection)
}

fn forget_statement() {
    CACHE.with_borrow_mut(|cache| cache.named.clear());
}

fn resolve(from_space: &str, to_space: &str) -> Result<Projection, ErrorReport> {
    let (from, to) = (Space::by_name(from_space)?, Space::by_name(to_space)?);
    if from.space_id == to.space_id {
        return Ok(Projection::Same(from.dims));
    }
    let model_of = |space: &Space| -> Result<String, ErrorReport> {
        let unregistered = Error::NotRegistered {
            space: space.name.clone(),
        };
        model::model_of(space.space_id)?.ok_or_else(|| unregistered.into())
    };
    let (model, other) = (model_of(&from)?, model_of(&to)?);
    if model != other {
        return Err(Error::DifferentModels {
            from: (from_space.to_owned(), model),
            to: (to_space.to_owned(), other),
        }
        .into());
    }
    let chain = Chain::of_model(&model)?;
    let place = |space: &Space| {
        let found = chain
            .versions
            .iter()
            .position(|it| it.space_id == Some(space.space_id));
        found.ok_or_else(|| Error::NotRegistered {
            space: space.name.clone(),
        })
    };
    let path = chain.path(place(&from)?, place(&to)?)?;
    along(&chain, &path).map(Projection::Along)
}

/// The product of the maps along a path of one step or more.
pub fn along(chain: &Chain, path: &[Step]) -> Result<Rc<Map>, ErrorReport> {
    let recipe = recipe(chain, path);
    let found = find(&recipe, |it| match it {
        Product::Map(map) => Some(Rc::clone(map)),
        Product::Anchors(_) => None,
    });
    if let Some(map) = found {
        return Ok(map);
    }
    let map = Rc::new(compose(chain, path)?);
    keep(recipe, Product::Map(Rc::clone(&map)));
    Ok(map)
}

/// The anchors of a version's alignment, in the canonical frame.
pub fn placed_anchors(chain: &Chain, version: usize) -> Result<Rc<Nearest>, ErrorReport> {
    let recipe = recipe(chain, &chain.path(version, 0)?);
    let found = find(&recipe, |it| match it {
        Product::Anchors(anchors) => Some(Rc::clone(anchors)),
        Product::Map(_) => None,
    });
    if let Some(anchors) = found {
        return Ok(anchors);
    }
    let anchors = Rc::new(errors::place_anchors(chain, version)?);
    keep(recipe, Product::Anchors(Rc::clone(&anchors)));
    Ok(anchors)
}

fn recipe(chain: &Chain, path: &[Step]) -> Recipe {
    path.iter()
        .map(|step| {
            (
                chain.versions[step.version].revision.unwrap_or_default(),
                step.direction,
            )
        })
        .collect()
}

/// Looks a product up, and makes it the last used one.
fn find<T>(recipe: &Recipe, wanted: impl Fn(&Product) -> Option<T>) -> Option<T> {
    CACHE.with_borrow_mut(|cache| {
        let place = cache
            .kept
            .iter()
            .position(|it| it.recipe == *recipe && wanted(&it.product).is_some())?;
        let kept = cache.kept.remove(place);
        let found = wanted(&kept.product);
        cache.kept.push(kept);
        found
    })
}

fn compose(chain: &Chain, path: &[Step]) -> Result<Map, ErrorReport> {
    let corrupt = |problem| Error::Corrupt {
        kind: "alignment",
        problem,
    };
    let map_of = |step: &Step| -> Result<Map, ErrorReport> {
        let version = &chain.versions[step.version].version;
        let map = alignment::map(&chain.model, version, step.direction)?;
        map.ok_or_else(|| chain.not_aligned(step.version).into())
    };
    let Some((first, others)) = path.split_first() else {
        return Err(corrupt(String::from("a path without a step")).into());
    };
    let mut product = map_of(first)?;
    for step in others {
        let map = map_of(step)?;
        if product.to_dims != map.from_dims {
            return Err(corrupt(format!(
                "version {} maps from {} dimensions, the path before it leads to {}",
                chain.versions[step.version].version, map.from_dims, product.to_dims
            ))
            .into());
        }
        product = product.then(&map);
    }
    Ok(product)
}

fn keep(recipe: Recipe, product: Product) {
    let limit = guc::projection_cache_bytes();
    CACHE.with_borrow_mut(|cache| {
        let mut held: usize = cache.kept.iter().map(|it| it.product.bytes()).sum();
        while held + product.bytes() > limit && !cache.kept.is_empty() {
            held -= cache.kept.remove(0).product.bytes();
        }
        if product.bytes() <= limit {
            cache.kept.push(Kept { recipe, product });
        }
    });
}
