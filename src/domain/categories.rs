//! Categories: places in a tree, each named by the way to it from the root.

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

/// A category that has products, in itself or below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryCount {
    pub id: CategoryId,
    pub path: String,
    /// Products of this very category.
    pub products: i64,
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
    fn ancestors_come_from_the_root_down() {
        let path = CategoryPath::parse("home/kitchen/knives").unwrap();
        let all: Vec<_> = path.with_ancestors().collect();
        assert_eq!(all, ["home", "home/kitchen", "home/kitchen/knives"]);
    }
}
