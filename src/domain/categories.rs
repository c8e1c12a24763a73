//! Categories: places in a tree, each named by the way to it from the root.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::ids::CategoryId;
use crate::error::{Error, Result};

pub const MAX_PATH: usize = 255;
/// Levels of the tree.
pub const MAX_DEPTH: usize = 8;

/// Slugs between slashes: `home/kitchen/knives`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CategoryPath(String);

impl CategoryPath {
    pub fn parse(input: &str) -> Result<Self> {
        let path = input.trim();
        let refuse = |code, message| Err(Error::invalid_field("category", code, message));
        if path.is_empty() || path.len() > MAX_PATH {
            return refuse("length", "must have 1 to 255 characters");
        }
        if !path.split('/').all(is_slug) {
            return refuse(
                "format",
                "must be slugs (a-z, 0-9, single hyphens between) separated by slashes",
            );
        }
        if path.split('/').count() > MAX_DEPTH {
            return refuse("depth", "must have at most 8 levels");
        }
        Ok(Self(path.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The root's path first, this one last.
    pub fn with_ancestors(&self) -> impl Iterator<Item = &str> {
        let ends = self.0.match_indices('/').map(|(at, _)| at).chain([self.0.len()]);
        ends.map(|end| &self.0[..end])
    }
}

fn is_slug(slug: &str) -> bool {
    slug.split('-').all(|word| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    })
}

/// A category, and how many products stand in this very one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryCount {
    pub id: CategoryId,
    pub path: String,
    pub products: i64,
    pub created_at: DateTime<Utc>,
}

/// A category with those below it, sorted by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryNode {
    pub category: CategoryCount,
    /// Products of this category and of all below it.
    pub products_in_all: i64,
    pub children: Vec<CategoryNode>,
}

/// The roots; a category without a product in it or below it is not shown.
pub fn tree(counts: Vec<CategoryCount>) -> Vec<CategoryNode> {
    let mut levels: BTreeMap<(usize, String), CategoryNode> = BTreeMap::new();
    for category in counts {
        let key = (category.path.matches('/').count(), category.path.clone());
        let products_in_all = category.products;
        levels.insert(key, CategoryNode { category, products_in_all, children: Vec::new() });
    }
    let mut roots = Vec::new();
    // From the leaves up, and within a level from the last to the first.
    while let Some(((level, path), mut node)) = levels.pop_last() {
        if node.products_in_all == 0 {
            continue;
        }
        node.children.reverse();
        let parent = path.rsplit_once('/').map(|(parent, _)| parent.to_owned());
        match parent.and_then(|parent| levels.get_mut(&(level.wrapping_sub(1), parent))) {
            Some(parent) => {
                parent.products_in_all += node.products_in_all;
                parent.children.push(node);
            }
            None => roots.push(node),
        }
    }
    roots.reverse();
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_slugs_between_slashes() {
        for good in ["books", "home/kitchen-ware/knives", "a/b/c/d/e/f/g/h", "3d-printers"] {
            assert_eq!(CategoryPath::parse(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(256);
        for bad in [
            "",
            " ",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "a b",
            "ä",
            "-a",
            "a-",
            "a--b",
            "a_b",
            "a/../b",
            "a/b/c/d/e/f/g/h/i",
            "a\0b",
            &long,
        ] {
            let error = CategoryPath::parse(bad).expect_err(bad);
            assert_eq!(error.fields()[0].field, "category");
        }
    }

    #[test]
    fn a_tree_counts_what_is_below_and_leaves_out_what_is_empty() {
        let count = |path: &str, products| CategoryCount {
            id: CategoryId(uuid::Uuid::nil()),
            path: path.to_owned(),
            products,
            created_at: DateTime::UNIX_EPOCH,
        };
        let roots = tree(vec![
            count("a", 1),
            count("a-b", 0),
            count("a-b/x", 0),
            count("a/b", 0),
            count("a/b/d", 2),
            count("a/b/c", 3),
            count("b", 4),
        ]);
        let shape = |node: &CategoryNode| (node.category.path.clone(), node.products_in_all);
        assert_eq!(roots.iter().map(shape).collect::<Vec<_>>(), [("a".into(), 6), ("b".into(), 4)]);
        let below = &roots[0].children[0];
        assert_eq!((shape(below), below.category.products), (("a/b".into(), 5), 0));
        let leaves: Vec<_> = below.children.iter().map(shape).collect();
        assert_eq!(leaves, [("a/b/c".into(), 3), ("a/b/d".into(), 2)]);
    }

    #[test]
    fn ancestors_come_from_the_root_down() {
        let path = CategoryPath::parse("home/kitchen/knives").unwrap();
        let all: Vec<_> = path.with_ancestors().collect();
        assert_eq!(all, ["home", "home/kitchen", "home/kitchen/knives"]);
    }
}
