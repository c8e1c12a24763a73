//! What everybody reads of the catalogue, out of the cache: as a door renders it, which must put
//! nothing of who asks into it. Raise the version of a family when a door renders it otherwise.

use super::{Products, find};
use crate::{
    domain::{
        categories::{CategoryNode, tree},
        ids::ProductId,
        page::{Page, PageRequest},
        products::{Listed, Product, ProductAfter, ProductFilter, Sort},
    },
    error::Result,
    repos,
    services::freshness::{LISTS, product_tag},
    shared::cache::{Family, Rendered, Served, Sharing},
};

pub static PRODUCTS: Family = Family::new("products", 1, Sharing::Always);
pub static LISTED: Family = Family::new("product_lists", 1, Sharing::WhenReused);
pub static CATEGORIES: Family = Family::new("categories", 1, Sharing::Always);

pub type ProductPage = Page<Listed, ProductAfter>;

/// What asks Postgres lies in a box: most often nobody asks, and its large future would be moved
/// about for every answer out of Redis.
impl Products {
    /// A product that is not archived.
    pub async fn get(
        &self,
        id: ProductId,
        render: fn(Product) -> Result<Rendered>,
    ) -> Result<Served> {
        let load = || {
            let db = self.db.clone();
            async move {
                let found = Box::pin(find(&db, id)).await?.filter(|product| !product.archived);
                found.map(render).transpose()
            }
        };
        let tags = [product_tag(id)];
        self.freshness.cache.get_or_load(&PRODUCTS, &id.to_string(), &tags, load).await
    }

    /// A page in the order of `sort`.
    pub async fn list(
        &self,
        filter: ProductFilter,
        sort: Sort,
        page: PageRequest<ProductAfter>,
        render: impl FnOnce(ProductPage) -> Result<Rendered> + Send + 'static,
    ) -> Result<Served> {
        // All that the page depends on, whatever will be added to it.
        let id = format!("{sort:?} {filter:?} {page:?}");
        let load = || {
            let db = self.db.clone();
            async move {
                let read = Box::pin(db.read("products.list", async |conn| {
                    let rows = repos::products::list(conn, &filter, sort, &page).await?;
                    let total = match page.count {
                        true => Some(repos::products::count(conn, &filter).await?),
                        false => None,
                    };
                    Ok(Page::cut(rows, page.limit, total, |row: &Listed| row.position(sort)))
                }));
                render(read.await?).map(Some)
            }
        };
        self.freshness.cache.get_or_load(&LISTED, &id, &[LISTS], load).await
    }

    /// The tree of categories that have products.
    pub async fn categories(
        &self,
        render: fn(Vec<CategoryNode>) -> Result<Rendered>,
    ) -> Result<Served> {
        let load = || {
            let db = self.db.clone();
            async move {
                let counts = Box::pin(db.read("products.categories", async |conn| {
                    repos::categories::counts(conn).await
                }));
                render(tree(counts.await?)).map(Some)
            }
        };
        self.freshness.cache.get_or_load(&CATEGORIES, "tree", &[LISTS], load).await
    }
}
