//! The catalogue's products: made, changed and archived by staff, read by everybody.

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{
    audit::AuditTrail,
    auth::announce::Announcer,
    categories,
    idempotency::{Answer, Once},
    outbox::Outbox,
};
use crate::{
    db::{Db, retry_conflicts},
    domain::{
        audit::{Action, NewAuditEvent, Origin, Target},
        auth::Identity,
        categories::{CategoryNode, tree},
        events::{Aggregate, EventType, NewEvent},
        idempotency::Outcome,
        ids::ProductId,
        page::{Page, PageRequest},
        products::{
            Listed, NewProduct, Product, ProductAfter, ProductFilter, ProductPatch, Sort, changed,
        },
    },
    error::{Code, Error, Result},
    repos,
    shared::clock::Clock,
};

mod announce;
mod seed;
mod stock;

pub struct Products {
    db: Db,
    clock: Clock,
    audit: AuditTrail,
    outbox: Outbox,
    once: Once,
    announcer: Announcer,
}

/// What the composition root hands over.
pub struct Parts {
    pub db: Db,
    pub clock: Clock,
    pub audit: AuditTrail,
    pub outbox: Outbox,
    pub once: Once,
    pub announcer: Announcer,
}

/// What happened to a product, for those who are told of it.
struct Told<'a> {
    actor: &'a Identity,
    origin: &'a Origin,
    event: EventType,
    payload: Value,
    action: Action,
    details: Value,
}

impl Products {
    pub fn new(parts: Parts) -> Self {
        let Parts { db, clock, audit, outbox, once, announcer } = parts;
        Self { db, clock, audit, outbox, once, announcer }
    }

    /// What everybody may see.
    pub async fn get(&self, id: ProductId) -> Result<Product> {
        let found = self.find(id).await?.filter(|product| !product.archived);
        found.ok_or_else(Error::not_found)
    }

    /// What staff sees: archived ones too.
    pub async fn get_any(&self, id: ProductId) -> Result<Product> {
        self.find(id).await?.ok_or_else(Error::not_found)
    }

    async fn find(&self, id: ProductId) -> Result<Option<Product>> {
        self.db.read("products.get", async |conn| repos::products::find(conn, id).await).await
    }

    /// A page in the order of `sort`.
    pub async fn list(
        &self,
        filter: &ProductFilter,
        sort: Sort,
        page: PageRequest<ProductAfter>,
    ) -> Result<Page<Listed, ProductAfter>> {
        self.db
            .read("products.list", async |conn| {
                let rows = repos::products::list(conn, filter, sort, &page).await?;
                let total = match page.count {
                    true => Some(repos::products::count(conn, filter).await?),
                    false => None,
                };
                Ok(Page::cut(rows, page.limit, total, |row: &Listed| row.position(sort)))
            })
            .await
    }

    /// The tree of categories that have products.
    pub async fn categories(&self) -> Result<Vec<CategoryNode>> {
        let counts = self
            .db
            .read("products.categories", async |conn| repos::categories::counts(conn).await)
            .await?;
        Ok(tree(counts))
    }

    pub async fn create(
        &self,
        actor: &Identity,
        new: &NewProduct,
        outcome: &Outcome<Product>,
        origin: &Origin,
    ) -> Result<Answer> {
        let work = async |tx: &mut PgConnection| {
            let category = categories::ensure(tx, &self.clock, &new.category).await?;
            let (id, movement) = (ProductId(self.clock.new_id()), self.clock.new_id());
            let by = Some(actor.user_id);
            let product = repos::products::insert(tx, id, new, category, movement, by).await?;
            let told = Told {
                actor,
                origin,
                event: EventType::ProductCreated,
                payload: facts(&product),
                action: Action::ProductCreated,
                details: json!({"sku": product.sku}),
            };
            self.tell(tx, id, product.revision(), told).await?;
            Ok(product)
        };
        self.once.tx("products.create", outcome, work).await
    }

    /// Changes what `patch` names. The present version must be among `versions`, if given.
    pub async fn update(
        &self,
        actor: &Identity,
        id: ProductId,
        patch: &ProductPatch,
        versions: Option<&[i64]>,
        origin: &Origin,
    ) -> Result<Product> {
        retry_conflicts(|| {
            self.db.tx("products.update", async |tx| {
                let before = self.lock(tx, id, versions).await?;
                if before.archived {
                    return Err(archived());
                }
                let after = patch.apply(&before);
                let fields = changed(&before, &after);
                if fields.is_empty() {
                    return Ok(before);
                }
                let category =
                    match patch.category.as_ref().filter(|_| fields.contains(&"category")) {
                        Some(path) => Some(categories::ensure(tx, &self.clock, path).await?),
                        None => None,
                    };
                let product = repos::products::update(tx, &after, category).await?;
                let told = Told {
                    actor,
                    origin,
                    event: EventType::ProductUpdated,
                    payload: json!({"version": product.version, "changed": fields}),
                    action: Action::ProductUpdated,
                    details: json!({"changed": fields}),
                };
                self.tell(tx, id, product.revision(), told).await?;
                Ok(product)
            })
        })
        .await
    }

    /// Takes it from the catalogue; the row stays for what refers to it. Twice is once.
    pub async fn archive(
        &self,
        actor: &Identity,
        id: ProductId,
        versions: Option<&[i64]>,
        origin: &Origin,
    ) -> Result<()> {
        retry_conflicts(|| {
            self.db.tx("products.archive", async |tx| {
                if self.lock(tx, id, versions).await?.archived {
                    return Ok(());
                }
                let (version, stock_version) = repos::products::archive(tx, id).await?;
                let told = Told {
                    actor,
                    origin,
                    event: EventType::ProductArchived,
                    payload: json!({"version": version}),
                    action: Action::ProductArchived,
                    details: json!({}),
                };
                self.tell(tx, id, version + stock_version, told).await
            })
        })
        .await
    }

    async fn lock(
        &self,
        tx: &mut PgConnection,
        id: ProductId,
        versions: Option<&[i64]>,
    ) -> Result<Product> {
        let product = repos::products::lock(tx, id).await?.ok_or_else(Error::not_found)?;
        match versions {
            Some(versions) if !versions.contains(&product.version) => {
                Err(Error::of(Code::PreconditionFailed))
            }
            _ => Ok(product),
        }
    }

    /// The event, the audit trail and the change feed, in the transaction they tell of.
    async fn tell(
        &self,
        tx: &mut PgConnection,
        id: ProductId,
        revision: i64,
        told: Told<'_>,
    ) -> Result<()> {
        let Told { actor, origin, event, payload, action, details } = told;
        let actor = Some(actor.user_id);
        let event = NewEvent { kind: event, aggregate: Aggregate::product(id), actor, payload };
        self.outbox.emit(tx, event, origin).await?;
        let line = NewAuditEvent { actor, action, target: Target::product(id), details };
        self.audit.record(tx, line, origin).await?;
        self.announce(tx, id, revision).await
    }
}

fn archived() -> Error {
    Error::new(Code::Conflict, "the product is archived")
}

/// The members of `product.created`.
fn facts(product: &Product) -> Value {
    json!({
        "sku": product.sku,
        "name": product.name,
        "category": product.category,
        "price": {"amount": product.price, "currency": product.currency},
        "stock": product.stock,
    })
}
