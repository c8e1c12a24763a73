//! Lists on the wire: the envelope, the cursor and the `Link`.

use std::borrow::Cow;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Uri, header};
use serde::{Serialize, de::DeserializeOwned};
use url::form_urlencoded;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ArrayBuilder, ObjectBuilder, Ref, RefOr, Schema,
        schema::{SchemaType, Type},
    },
};

use super::{cached, query::PageQuery};
use crate::{
    domain::page::{DEFAULT_LIMIT, Page, PageRequest},
    error::{Error, Result},
    shared::{cache::Rendered, cursor::CursorKey},
};

/// One page of a list.
#[derive(Debug, Serialize)]
pub struct List<T> {
    pub data: Vec<T>,
    pub next_cursor: Option<String>,
    /// With `count=exact`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
}

/// By hand, because the derived one would copy the rows' schema instead of referring to it.
impl<T: ToSchema> PartialSchema for List<T> {
    fn schema() -> RefOr<Schema> {
        let rows = ArrayBuilder::new().items(Ref::from_schema_name(T::name()));
        let next = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some("Give it as `cursor` to get the next page; null on the last."));
        let total = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0))
            .description(Some("How many there are on all pages; only with `count=exact`."));
        ObjectBuilder::new()
            .description(Some("One page of a list."))
            .property("data", rows)
            .required("data")
            .property("next_cursor", next)
            .required("next_cursor")
            .property("total", total)
            .into()
    }
}

impl<T: ToSchema> ToSchema for List<T> {
    fn name() -> Cow<'static, str> {
        format!("{}List", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into(), T::schema()));
        T::schemas(schemas);
    }
}

/// A list's name and filters: what its cursors are bound to.
pub struct Scope<'a> {
    pub key: &'a CursorKey,
    pub name: String,
}

impl Scope<'_> {
    pub fn request<K: DeserializeOwned>(&self, page: &PageQuery) -> Result<PageRequest<K>> {
        let cursor = page.cursor.as_deref();
        let after = cursor.map(|cursor| self.key.decode(&self.name, cursor)).transpose()?;
        let limit = page.limit.unwrap_or(DEFAULT_LIMIT);
        Ok(PageRequest { limit, after, count: page.count.is_some() })
    }

    /// `uri` is what the client asked for: the next page differs in the cursor only.
    pub fn respond<T, W: Serialize, K: Serialize>(
        &self,
        uri: &Uri,
        page: Page<T, K>,
        wire: impl Fn(T) -> W,
    ) -> Result<Response> {
        let list = self.list(page, wire)?;
        let next_cursor = list.next_cursor.clone().unwrap_or_default();
        with_link(Json(list).into_response(), uri, &next_cursor)
    }

    /// The list for the cache, its next cursor beside it.
    pub fn render<T, W: Serialize, K: Serialize>(
        &self,
        page: Page<T, K>,
        wire: impl Fn(T) -> W,
    ) -> Result<Rendered> {
        let list = self.list(page, wire)?;
        let body = serde_json::to_vec(&list).map_err(Error::internal)?;
        Ok(Rendered { label: list.next_cursor.unwrap_or_default(), body: body.into() })
    }

    fn list<T, W, K: Serialize>(&self, page: Page<T, K>, wire: impl Fn(T) -> W) -> Result<List<W>> {
        let next_cursor = page.next.map(|after| self.key.encode(&self.name, &after)).transpose()?;
        let data = page.rows.into_iter().map(wire).collect();
        Ok(List { data, next_cursor, total: page.total })
    }
}

/// A rendered list as this client asked for it.
pub fn respond_rendered(uri: &Uri, list: &Rendered) -> Result<Response> {
    with_link(cached::json(list), uri, &list.label)
}

fn with_link(mut response: Response, uri: &Uri, next_cursor: &str) -> Result<Response> {
    if !next_cursor.is_empty() {
        response.headers_mut().insert(header::LINK, next_link(uri, next_cursor)?);
    }
    Ok(response)
}

fn next_link(uri: &Uri, cursor: &str) -> Result<HeaderValue> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let old = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    query.extend_pairs(old.filter(|(name, _)| name != "cursor"));
    let query = query.append_pair("cursor", cursor).finish();
    HeaderValue::from_str(&format!("<{}?{query}>; rel=\"next\"", uri.path()))
        .map_err(Error::internal)
}
