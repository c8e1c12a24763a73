//! A batch of rows on its way into the tables: COPY into a temporary table of the connection, and
//! from there in statements over all rows. They name that table, so the compiler cannot check
//! them; tests/api/imports runs each.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    domain::{ids::CategoryId, imports::Row},
    error::Result,
};

/// A row and what it needs to be stored.
pub struct Line<'a> {
    /// Of the product, should it be new.
    pub id: Uuid,
    pub movement_id: Uuid,
    pub category: CategoryId,
    pub row: &'a Row,
    /// Of the product, should it be new.
    pub initial_stock: i64,
}

/// How a batch is stored.
#[derive(Clone, Copy)]
pub struct How<'a> {
    /// The file says something of attributes.
    pub sets_attributes: bool,
    pub sets_stock: bool,
    /// Of the movements of stock.
    pub reason: &'a str,
    pub actor: Uuid,
}

/// Merges lines of different SKUs; the SKUs that were left alone because their product is archived.
pub async fn merge(
    conn: &mut PgConnection,
    lines: &[Line<'_>],
    how: How<'_>,
) -> Result<Vec<String>> {
    empty_table(conn).await?;
    copy(conn, lines).await?;
    prepare(conn).await?;
    let inserted = upsert(conn, how).await?;
    book_initial(conn, how).await?;
    if inserted == lines.len() as i64 {
        return Ok(Vec::new());
    }
    if how.sets_stock {
        set_stock(conn, how).await?;
    }
    let archived = sqlx::query_scalar(
        "select batch.sku from pg_temp.import_batch_1 batch
         join products on products.sku = batch.sku where products.archived_at is not null",
    );
    Ok(archived.fetch_all(conn).await?)
}

/// The name tells the release that knows its columns: a pooler may hand over a connection of another.
async fn empty_table(conn: &mut PgConnection) -> Result<()> {
    let there = sqlx::query_scalar("select to_regclass('pg_temp.import_batch_1') is not null");
    let statement = match there.fetch_one(&mut *conn).await? {
        true => "truncate pg_temp.import_batch_1",
        false => {
            "create temporary table import_batch_1 (
                 id uuid not null, movement_id uuid not null, sku text not null collate \"C\",
                 name text not null, description text not null, category_id uuid not null,
                 price bigint not null, currency text not null, attributes jsonb,
                 initial_stock bigint not null, stock bigint not null
             ) on commit delete rows"
        }
    };
    sqlx::query(statement).execute(conn).await?;
    Ok(())
}

/// Nothing is known of a table that was filled a moment ago; without this the planner may read
/// all products for each batch. And a batch may take longer than what somebody waits for.
async fn prepare(conn: &mut PgConnection) -> Result<()> {
    let settings = sqlx::query(
        "select set_config(name, value, true)
         from (values ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'),
                      ('enable_seqscan', 'off'), ('statement_timeout', '30s')) setting(name, value)",
    );
    settings.execute(conn).await?;
    Ok(())
}

/// How many products are new. Rows are locked in the order of their SKUs, also those that stay as
/// they are; an archived product and an equal one are left alone.
async fn upsert(conn: &mut PgConnection, how: How<'_>) -> Result<i64> {
    let upserted = sqlx::query_scalar(
        "with upserted as (
             insert into products as old
                 (id, sku, name, description, category_id, price, currency, attributes, stock)
             select id, sku, name, description, category_id, price, currency,
                    coalesce(attributes, '{}'), initial_stock
             from pg_temp.import_batch_1 order by sku
             on conflict (sku) do update
             set name = excluded.name, description = excluded.description,
                 category_id = excluded.category_id, price = excluded.price,
                 currency = excluded.currency,
                 attributes = case when $1 then excluded.attributes else old.attributes end,
                 version = old.version + 1, updated_at = now()
             where old.archived_at is null and (
                 (old.name, old.description, old.category_id, old.price, old.currency)
                 is distinct from (excluded.name, excluded.description, excluded.category_id,
                                   excluded.price, excluded.currency)
                 or ($1 and old.attributes is distinct from excluded.attributes))
             returning xmax = 0 as inserted
         )
         select count(*) filter (where inserted) from upserted",
    );
    Ok(upserted.bind(how.sets_attributes).fetch_one(conn).await?)
}

async fn book_initial(conn: &mut PgConnection, how: How<'_>) -> Result<()> {
    let booked = sqlx::query(
        "insert into stock_movements (id, product_id, delta, kind, reason, actor_id)
         select batch.movement_id, batch.id, batch.initial_stock, 'initial', $1, $2
         from pg_temp.import_batch_1 batch
         where batch.initial_stock > 0 and exists (select from products where products.id = batch.id)",
    );
    booked.bind(how.reason).bind(how.actor).execute(conn).await?;
    Ok(())
}

/// The rows are locked since the upsert, so nobody moves stock between what is read and written.
async fn set_stock(conn: &mut PgConnection, how: How<'_>) -> Result<()> {
    let set = sqlx::query(
        "with differing as (
             select products.id, batch.movement_id, batch.stock, batch.stock - products.stock as delta
             from pg_temp.import_batch_1 batch join products on products.sku = batch.sku
             where products.id <> batch.id and products.archived_at is null
               and products.stock <> batch.stock
         ), moved as (
             update products
             set stock = differing.stock, stock_version = stock_version + 1, updated_at = now()
             from differing where products.id = differing.id
         )
         insert into stock_movements (id, product_id, delta, kind, reason, actor_id)
         select movement_id, id, delta, 'import', $1, $2 from differing",
    );
    set.bind(how.reason).bind(how.actor).execute(conn).await?;
    Ok(())
}

async fn copy(conn: &mut PgConnection, lines: &[Line<'_>]) -> Result<()> {
    let mut copy = conn
        .copy_in_raw(
            "copy pg_temp.import_batch_1 (id, movement_id, sku, name, description, category_id, price,
                 currency, attributes, initial_stock, stock) from stdin (format binary)",
        )
        .await?;
    let mut encoded = Encoded::new();
    for line in lines {
        encoded.line(line);
        if encoded.0.len() > Encoded::PIECE {
            copy.send(encoded.0.as_slice()).await?;
            encoded.0.clear();
        }
    }
    encoded.0.extend_from_slice(&(-1_i16).to_be_bytes());
    copy.send(encoded.0.as_slice()).await?;
    copy.finish().await?;
    Ok(())
}

/// The binary format of COPY: the number of fields, and each with its length in front.
struct Encoded(Vec<u8>);

impl Encoded {
    const PIECE: usize = 64 * 1024;

    fn new() -> Self {
        Self(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec())
    }

    fn line(&mut self, line: &Line<'_>) {
        let row = line.row;
        self.0.extend_from_slice(&11_i16.to_be_bytes());
        self.field(line.id.as_bytes());
        self.field(line.movement_id.as_bytes());
        self.field(row.sku.as_str().as_bytes());
        self.field(row.name.as_str().as_bytes());
        self.field(row.description.as_str().as_bytes());
        self.field(line.category.0.as_bytes());
        self.field(&row.price.to_be_bytes());
        self.field(row.currency.as_str().as_bytes());
        match &row.attributes {
            // In front of jsonb stands the version of its format.
            Some(json) => self.field(&[b"\x01", json.as_bytes()].concat()),
            None => self.0.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
        self.field(&line.initial_stock.to_be_bytes());
        self.field(&row.stock.to_be_bytes());
    }

    fn field(&mut self, bytes: &[u8]) {
        let length = i32::try_from(bytes.len()).expect("no field is as long as a record may be");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
    }
}

/// The products among these SKUs that are archived.
pub async fn archived(conn: &mut PgConnection, skus: &[String]) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar!(
        "select sku from products where sku = any($1) and archived_at is not null",
        skus,
    )
    .fetch_all(conn)
    .await?)
}
