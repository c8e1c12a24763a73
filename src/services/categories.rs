//! Categories are made when a product first names them.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use crate::{
    domain::{categories::CategoryPath, ids::CategoryId},
    error::{Error, Result},
    repos,
    shared::clock::Clock,
};

/// The category of a path, made with its ancestors where it is missing.
pub async fn ensure(
    tx: &mut PgConnection,
    clock: &Clock,
    path: &CategoryPath,
) -> Result<CategoryId> {
    if let Some(id) = repos::categories::find(tx, path).await? {
        return Ok(id);
    }
    let all = ensure_all(tx, clock, [path]).await?;
    all.get(path.as_str()).copied().ok_or_else(|| Error::internal("a category was not made"))
}

/// The same for many at once, in a few statements: all their ids by path, ancestors included.
/// Levels are made from the root down and sorted, so that two who make the same ones meet in one
/// order.
pub async fn ensure_all<'a>(
    tx: &mut PgConnection,
    clock: &Clock,
    paths: impl IntoIterator<Item = &'a CategoryPath>,
) -> Result<BTreeMap<String, CategoryId>> {
    let mut levels: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for path in paths {
        for (level, ancestor) in path.with_ancestors().enumerate() {
            levels.entry(level).or_default().insert(ancestor.to_owned());
        }
    }
    let all: Vec<String> = levels.values().flatten().cloned().collect();
    let known: BTreeMap<_, _> = repos::categories::find_all(tx, &all).await?.into_iter().collect();
    for level in levels.into_values() {
        let missing: Vec<_> = level.into_iter().filter(|path| !known.contains_key(path)).collect();
        if !missing.is_empty() {
            let ids: Vec<_> = missing.iter().map(|_| clock.new_id()).collect();
            repos::categories::insert_level(tx, &ids, &missing).await?;
        }
    }
    Ok(match known.len() == all.len() {
        true => known,
        false => repos::categories::find_all(tx, &all).await?.into_iter().collect(),
    })
}
