//! The catalogue as one file.

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::Validate;

use super::{
    extract::{From, Staff},
    products::{ProductBody, schema::CategoryPathSchema},
    query::Query,
};
use crate::{
    domain::{
        categories::CategoryPath,
        csv,
        products::{MAX_AMOUNT, Product, ProductFilter},
    },
    error::{Error, Result},
    services::{Services, exports::Export},
};

/// As imports read them.
const COLUMNS: [&str; 8] =
    ["sku", "name", "description", "category", "price", "currency", "stock", "attributes"];

/// Of what is sent at once.
const PIECE: usize = 32 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// A table that can be imported again.
    #[default]
    Csv,
    /// A product as JSON on each line.
    Ndjson,
}

#[derive(Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// `csv` unless said.
    #[param(inline)]
    format: Option<ExportFormat>,
    /// Only products of this category, or of one below it.
    #[param(value_type = Option<CategoryPathSchema>, example = "home/kitchen")]
    category: Option<String>,
    /// Words that all have to occur, as in a list.
    #[validate(length(max = 200, message = "must have at most 200 characters"))]
    #[param(max_length = 200, pattern = r"^[^\u0000]*$")]
    q: Option<String>,
    /// In minor units.
    #[validate(range(min = 0, max = MAX_AMOUNT, message = "must be from 0 to 1000000000000"))]
    #[param(minimum = 0, maximum = 1_000_000_000_000_i64)]
    min_price: Option<i64>,
    /// In minor units.
    #[validate(range(min = 0, max = MAX_AMOUNT, message = "must be from 0 to 1000000000000"))]
    #[param(minimum = 0, maximum = 1_000_000_000_000_i64)]
    max_price: Option<i64>,
    /// Only products of which there are some, or none.
    in_stock: Option<bool>,
}

impl ExportQuery {
    fn filter(&self) -> Result<ProductFilter> {
        let category = self.category.as_deref().map(CategoryPath::parse).transpose()?;
        let q = self.q.as_deref().map(str::trim).filter(|q| !q.is_empty()).map(str::to_owned);
        let Self { min_price, max_price, in_stock, .. } = *self;
        Ok(ProductFilter { category, q, min_price, max_price, in_stock })
    }
}

/// The catalogue as one file.
///
/// As it stands at one moment, without what is archived, in the order in which products were made.
/// In CSV, what a spreadsheet would run as a formula has a `'` in front; an import takes it off
/// again. When it ends before its end, the connection breaks.
#[utoipa::path(get, path = "/api/v1/products/export", tag = "products",
    operation_id = "export_products", params(ExportQuery),
    responses((status = 200, description = "The products", content((String = "text/csv",
        example = "sku,name,description,category,price,currency,stock,attributes\r\nKN-1,Knife,,home/kitchen,1999,EUR,5,{}\r\n"),
        (String = "application/x-ndjson")))))]
pub async fn products(
    State(services): State<Services>,
    Staff(actor): Staff,
    From(origin): From,
    Query(query): Query<ExportQuery>,
) -> Result<Response> {
    let format = query.format.unwrap_or_default();
    let export = services.exports.begin(&actor, query.filter()?, &origin).await?;
    let (media, name) = match format {
        ExportFormat::Csv => ("text/csv; charset=utf-8", "products.csv"),
        ExportFormat::Ndjson => ("application/x-ndjson", "products.ndjson"),
    };
    let headers = [
        (header::CONTENT_TYPE, media.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    Ok((headers, body(export, format)).into_response())
}

/// In pieces, so that a slow client is seen to read on.
fn body(export: Export, format: ExportFormat) -> Body {
    let mut head = Vec::new();
    if format == ExportFormat::Csv {
        csv::write_record(&COLUMNS, &mut head);
    }
    Body::from_stream(stream::try_unfold(
        (export, Bytes::from(head)),
        move |(mut export, mut text)| async move {
            if text.is_empty() {
                let Some(rows) = export.next().await? else { return Ok(None) };
                text = written(rows, format)?;
            }
            export.note_progress();
            let piece = text.split_to(text.len().min(PIECE));
            Ok::<_, Error>(Some((piece, (export, text))))
        },
    ))
}

fn written(rows: Vec<Product>, format: ExportFormat) -> Result<Bytes> {
    let mut text = Vec::new();
    for product in rows {
        write(product, format, &mut text)?;
    }
    Ok(text.into())
}

fn write(product: Product, format: ExportFormat, text: &mut Vec<u8>) -> Result<()> {
    match format {
        ExportFormat::Csv => {
            let (price, stock) = (product.price.to_string(), product.stock.to_string());
            let attributes = product.attributes.to_string();
            let fields = [
                &product.sku,
                &product.name,
                &product.description,
                &product.category,
                &price,
                &product.currency,
                &stock,
                &attributes,
            ];
            csv::write_record(&fields.map(String::as_str), text);
        }
        ExportFormat::Ndjson => {
            serde_json::to_writer(&mut *text, &ProductBody::from(product))
                .map_err(Error::internal)?;
            text.push(b'\n');
        }
    }
    Ok(())
}
