//! Imports: files of products, uploaded and then read in the background.

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::{
    etag::Conditions,
    extract::{From, Path, Staff},
    idempotency::{self, REPLAYED},
    query::Query,
    time::Timestamp,
};
use crate::{
    domain::{
        csv,
        idempotency::Fingerprint,
        ids::ImportId,
        imports::{self, ImportMode, ImportState, Options},
    },
    error::{Error, Result},
    middleware::deadline::Leaving,
    services::{
        Services,
        imports::{Begun, Known, Upload},
    },
};

mod file;

use file::File;

/// Bad rows that are read from the database at once.
const REJECTS_AT_ONCE: i64 = 500;

/// A file of products on its way into the catalogue.
#[derive(Serialize, ToSchema)]
pub struct Import {
    id: ImportId,
    state: ImportState,
    mode: ImportMode,
    /// Rows are judged and counted, and nothing is changed.
    dry_run: bool,
    /// What the column `stock` does to products that exist.
    stock: StockPolicy,
    /// Of the text, after decompression, as far as it has come.
    #[schema(example = 1048576)]
    bytes_total: i64,
    #[schema(example = 524288)]
    bytes_done: i64,
    #[schema(example = 5000)]
    rows_read: i64,
    /// Rows that are in the catalogue as they stand in the file, whether that changed a product or
    /// not; of a dry run, rows that would be.
    #[schema(example = 4990)]
    rows_upserted: i64,
    #[schema(example = 10)]
    rows_rejected: i64,
    /// Bad rows beyond the million that `/rejects` shows.
    rejects_left_out: i64,
    /// 100 only when it has succeeded.
    #[schema(minimum = 0, maximum = 100, example = 50)]
    percent: i64,
    /// Why it failed as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ImportError>,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[schema(required)]
    finished_at: Option<Timestamp>,
}

/// Why an import failed as a whole.
#[derive(Serialize, ToSchema)]
pub struct ImportError {
    #[schema(example = "unclosed_quote")]
    code: String,
    #[schema(example = "a quote is not closed")]
    detail: String,
    /// Where in the file, if it is one place.
    #[schema(required)]
    line: Option<i64>,
}

/// What a file says of the stock of products that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StockPolicy {
    /// Nothing: it counts for new products only.
    #[default]
    Keep,
    /// It is set; the difference is booked.
    Set,
}

impl std::convert::From<imports::Import> for Import {
    fn from(import: imports::Import) -> Self {
        let (percent, rejects_left_out) = (import.percent(), import.rejects_left_out());
        let Options { mode, dry_run, sets_stock } = import.options;
        let error = import.failure.map(|failure| ImportError {
            code: failure.code,
            detail: failure.detail,
            line: failure.line,
        });
        Self {
            id: import.id,
            state: import.state,
            mode,
            dry_run,
            stock: if sets_stock { StockPolicy::Set } else { StockPolicy::Keep },
            bytes_total: import.bytes_total,
            bytes_done: import.bytes_done,
            rows_read: import.rows_read,
            rows_upserted: import.rows_upserted,
            rows_rejected: import.rows_rejected,
            rejects_left_out,
            percent,
            error,
            created_at: Timestamp(import.created_at),
            updated_at: Timestamp(import.updated_at),
            finished_at: import.finished_at.map(Timestamp),
        }
    }
}

#[derive(Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// What becomes of the good rows of a file that has bad ones; `partial` unless said.
    #[param(inline)]
    mode: Option<ImportMode>,
    /// Judges and counts the rows, and changes nothing.
    dry_run: Option<bool>,
    /// What the column `stock` does to products that exist; `keep` unless said.
    #[param(inline)]
    stock: Option<StockPolicy>,
}

impl ImportQuery {
    fn options(&self) -> Options {
        Options {
            mode: self.mode.unwrap_or_default(),
            dry_run: self.dry_run.unwrap_or_default(),
            sets_stock: self.stock.unwrap_or_default() == StockPolicy::Set,
        }
    }
}

/// The file as a part of a form.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for the API description")]
pub struct ImportForm {
    #[schema(content_media_type = "text/csv")]
    file: String,
}

/// Uploads a file of products.
///
/// CSV (RFC 4180) in UTF-8 whose first line names the columns, in any order: `sku`, `name`,
/// `description`, `category`, `price` (in minor units), `currency`, `stock` and, if wanted,
/// `attributes` (a JSON object). It may be compressed with gzip, by `Content-Encoding` or as it is.
/// A job reads it: products are made or changed by their `sku`. Of rows with the same `sku` the
/// last one counts; the stock of a new product is that of its first row, unless `stock=set`. Rows
/// of archived products are refused. A `'` in front of `= + - @`, as exports write it against
/// formulas, is taken off. An interrupted upload leaves nothing behind.
#[utoipa::path(post, path = "/api/v1/imports", tag = "products", operation_id = "create_import",
    params(ImportQuery, ("Idempotency-Key" = Option<String>, Header)),
    request_body(content((String = "text/csv",
        example = "sku,name,description,category,price,currency,stock\r\nKN-1,Knife,,home/kitchen,1999,EUR,5\r\n"),
        (ImportForm = "multipart/form-data"), (String = "application/gzip"))),
    responses((status = 202, description = "The file has come whole, and waits for a worker", body = Import,
        headers(("Location")), links(
        ("get_import" = (operation_id = "get_import", parameters(("id" = "$response.body#/id")))),
        ("cancel_import" = (operation_id = "cancel_import",
            parameters(("id" = "$response.body#/id")),
            description = "Cancels it, if it has not ended.")),
    ))))]
pub async fn create(
    State(services): State<Services>,
    Staff(actor): Staff,
    From(origin): From,
    Query(query): Query<ImportQuery>,
    Extension(leaving): Extension<Leaving>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let options = query.options();
    let key = idempotency::key(&headers)?;
    let claim = key.map(|key| (key, fingerprint(options)));
    let idle = services.imports.settings().progress_timeout;
    let file = File::open(&headers, body, idle)?;
    match services.imports.begin(&actor, options, claim.as_ref()).await? {
        Begun::Known(mut known) => {
            leaving.before(compare(&mut known, file)).await?;
            Ok(accepted(known.finish()?, true))
        }
        Begun::Upload(mut upload) => {
            let received = leaving.before(receive(&mut upload, file)).await;
            let queued = match received {
                Ok(()) => upload.finish(&actor, &origin).await,
                Err(error) => Err(error),
            };
            match queued {
                Ok(import) => Ok(accepted(import, false)),
                Err(error) => {
                    upload.abandon(&error).await;
                    Err(error)
                }
            }
        }
    }
}

/// What was asked for; the file itself is compared when it has come.
fn fingerprint(options: Options) -> Fingerprint {
    let word = |yes: bool| if yes { "true" } else { "false" };
    let parameters = [
        ("mode", options.mode.as_str()),
        ("dry_run", word(options.dry_run)),
        ("sets_stock", word(options.sets_stock)),
    ];
    Fingerprint::of("POST", "/api/v1/imports", &parameters, None)
}

async fn receive(upload: &mut Upload, mut file: File) -> Result<()> {
    while let Some(text) = file.next().await? {
        upload.write(&text).await?;
    }
    Ok(())
}

async fn compare(known: &mut Known, mut file: File) -> Result<()> {
    while let Some(text) = file.next().await? {
        known.compare(&text)?;
    }
    Ok(())
}

fn accepted(import: imports::Import, replayed: bool) -> Response {
    let location = HeaderValue::from_str(&format!("/api/v1/imports/{}", import.id));
    let mut response = (StatusCode::ACCEPTED, Json(Import::from(import))).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// How far an import is.
///
/// Finished imports are kept for a configured time.
#[utoipa::path(get, path = "/api/v1/imports/{id}", tag = "products", operation_id = "get_import",
    params(("id" = ImportId, Path, description = "The import's id"),
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header)),
    responses((status = 200, description = "The import", body = Import)))]
pub async fn get(
    State(services): State<Services>,
    Staff(_actor): Staff,
    Path(id): Path<ImportId>,
    conditions: Conditions,
) -> Result<Response> {
    conditions.respond_digested(&Import::from(services.imports.get(id).await?))
}

/// Cancels an import.
///
/// A running one ends with the batch at hand. What it has stored stays, if its mode is `partial`.
#[utoipa::path(delete, path = "/api/v1/imports/{id}", tag = "products",
    operation_id = "cancel_import", params(("id" = ImportId, Path, description = "The import's id"),
        ("If-Match" = Option<String>, Header)),
    responses(
        (status = 204, description = "Cancelled"),
        (status = 409, description = "`ILLEGAL_TRANSITION`: the import has ended"),
    ))]
pub async fn cancel(
    State(services): State<Services>,
    Staff(actor): Staff,
    From(origin): From,
    Path(id): Path<ImportId>,
    conditions: Conditions,
) -> Result<StatusCode> {
    let found = async { services.imports.get(id).await.map(Import::from) };
    conditions.insist_digested(found).await?;
    services.imports.cancel(&actor, id, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The bad rows of an import, as CSV.
///
/// One line for each: on which line of the file it begins, the column (empty for the whole row),
/// what is wrong, and its beginning as it stands in the file. The first million are kept.
#[utoipa::path(get, path = "/api/v1/imports/{id}/rejects", tag = "products",
    operation_id = "get_import_rejects", params(("id" = ImportId, Path, description = "The import's id")),
    responses((status = 200, description = "The bad rows so far", body = String,
        content_type = "text/csv",
        example = "line,column,reason,original\r\n7,price,must be a whole number,\"KN-1,Knife,,home,1.5,EUR,5\"\r\n")))]
pub async fn rejects(
    State(services): State<Services>,
    Staff(_actor): Staff,
    Path(id): Path<ImportId>,
) -> Result<Response> {
    services.imports.get(id).await?;
    let mut head = Vec::new();
    csv::write_record(&["line", "column", "reason", "original"], &mut head);
    let pages = stream::try_unfold(Some(0), move |after| {
        let services = services.clone();
        async move {
            let Some(after) = after else { return Ok(None) };
            page_of_rejects(&services, id, after).await
        }
    });
    let first = stream::once(async move { Ok::<_, Error>(Bytes::from(head)) });
    let body = Body::from_stream(futures_util::StreamExt::chain(first, pages));
    let name = format!("attachment; filename=\"import-{id}-rejects.csv\"");
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, body).into_response())
}

/// Some lines, and after which one the next page begins, if there is one.
async fn page_of_rejects(
    services: &Services,
    id: ImportId,
    after: i64,
) -> Result<Option<(Bytes, Option<i64>)>> {
    let rows = services.imports.rejects_after(id, after, REJECTS_AT_ONCE).await?;
    let Some(last) = rows.last().map(|row| row.line) else { return Ok(None) };
    let mut text = Vec::new();
    for row in &rows {
        let line = row.line.to_string();
        csv::write_record(&[&line, &row.column_name, &row.reason, &row.original], &mut text);
    }
    let next = (rows.len() as i64 == REJECTS_AT_ONCE).then_some(last);
    Ok(Some((text.into(), next)))
}
