//! A row: the same rules as for a product that somebody types in.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::Column;
use crate::{
    domain::{
        categories::CategoryPath,
        csv::{self, Record},
        products::{Attributes, Currency, Description, Price, ProductName, Sku, Stock},
        strict_json::{self, Refusal},
    },
    error::Error,
};

/// How much of a bad row is kept.
const MAX_ORIGINAL: usize = 1_000;

/// A good row.
#[derive(Debug, Clone)]
pub struct Row {
    pub sku: Sku,
    pub name: ProductName,
    pub description: Description,
    pub category: CategoryPath,
    pub price: i64,
    pub currency: Currency,
    /// As JSON; `None` when the file has no such column.
    pub attributes: Option<String>,
    pub stock: i64,
    /// To be shown if it is refused after all.
    pub line: i64,
    pub original: String,
}

impl Row {
    pub fn reject(&self, column: &'static str, reason: &str) -> Reject {
        Reject::new(self.line, column, reason, &self.original)
    }
}

/// A bad row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    pub line: i64,
    /// Empty when it is the whole row.
    pub column: &'static str,
    pub reason: String,
    pub original: String,
}

impl Reject {
    pub fn new(line: i64, column: &'static str, reason: impl Into<String>, original: &str) -> Self {
        // Postgres stores no NUL.
        let kept =
            original.chars().take(MAX_ORIGINAL).map(|c| if c == '\0' { '\u{fffd}' } else { c });
        Self { line, column, reason: reason.into(), original: kept.collect() }
    }
}

type Fault = (&'static str, Cow<'static, str>);

/// Makes rows of records.
pub struct RowReader {
    /// Where each column stands in a record.
    places: [Option<usize>; Column::ALL.len()],
    columns: usize,
}

impl RowReader {
    pub fn new(columns: &[Column]) -> Self {
        let place = |column: Column| columns.iter().position(|have| *have == column);
        Self { places: Column::ALL.map(place), columns: columns.len() }
    }

    pub fn read(&self, record: &Record<'_>) -> Result<Row, Reject> {
        let line = i64::try_from(record.line).unwrap_or(i64::MAX);
        let text = match std::str::from_utf8(record.raw) {
            Ok(text) => text,
            Err(_) => {
                let original = String::from_utf8_lossy(record.raw);
                return Err(Reject::new(line, "", "is not valid UTF-8", &original));
            }
        };
        self.row(text, line).map_err(|(column, reason)| Reject::new(line, column, reason, text))
    }

    fn row(&self, raw: &str, line: i64) -> Result<Row, Fault> {
        if raw.contains('\0') {
            return Err(("", "contains NUL".into()));
        }
        let fields = csv::fields(raw)
            .ok_or(("", Cow::Borrowed("has text after a closing quote, or a stray quote")))?;
        if fields.len() != self.columns {
            let reason = format!("has {} fields where {} are named", fields.len(), self.columns);
            return Err(("", reason.into()));
        }
        let field = |column: Column| {
            let place = self.places[column as usize]?;
            fields.get(place).map(|field| csv::unguarded(field))
        };
        let text = |column: Column| field(column).unwrap_or_default();
        let currency = Currency::parse(text(Column::Currency).trim());
        let currency = currency.map_err(|error| fault("currency", &error))?;
        let amount = number("price", text(Column::Price))?;
        let price = Price::parse(amount, currency.as_str()).map_err(|e| fault("price", &e))?;
        let stock = number("stock", text(Column::Stock))?;
        Ok(Row {
            sku: Sku::parse(text(Column::Sku)).map_err(|e| fault("sku", &e))?,
            name: ProductName::parse(text(Column::Name)).map_err(|e| fault("name", &e))?,
            description: Description::parse(text(Column::Description))
                .map_err(|e| fault("description", &e))?,
            category: CategoryPath::parse(text(Column::Category))
                .map_err(|e| fault("category", &e))?,
            price: price.amount,
            currency,
            attributes: field(Column::Attributes).map(attributes).transpose()?,
            stock: Stock::parse(stock).map_err(|e| fault("stock", &e))?.get(),
            line,
            original: raw.chars().take(MAX_ORIGINAL).collect(),
        })
    }
}

fn fault(column: &'static str, error: &Error) -> Fault {
    let message = error.fields().first().map(|fault| fault.message.clone());
    (column, message.unwrap_or(Cow::Borrowed("does not hold")))
}

fn number(column: &'static str, text: &str) -> Result<i64, Fault> {
    text.trim().parse().map_err(|_| (column, Cow::Borrowed("must be a whole number")))
}

/// An empty field is an empty object.
fn attributes(text: &str) -> Result<String, Fault> {
    let column = Column::Attributes.as_str();
    if matches!(text.trim(), "" | "{}") {
        return Ok("{}".to_owned());
    }
    // A NUL would fail the statement of the whole batch.
    strict_json::check(text.as_bytes()).map_err(|refusal| match refusal {
        Refusal::Malformed(why) => (column, Cow::Owned(why)),
        Refusal::Nul(_) => (column, Cow::Borrowed("must not contain NUL")),
    })?;
    let members: Map<String, Value> =
        serde_json::from_str(text).map_err(|_| (column, Cow::Borrowed("must be a JSON object")))?;
    let attributes = Attributes::parse(members).map_err(|error| fault(column, &error))?;
    Ok(attributes.to_value().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[u8]) -> Result<Row, Reject> {
        let columns = Column::ALL;
        RowReader::new(&columns).read(&Record { line: 7, raw: line })
    }

    #[test]
    fn a_good_row_is_what_a_product_may_be() {
        let row =
            read(b"A-1,'=Knife,\"a, b\",home/knives, 1999 ,EUR,3,\"{\"\"b\"\": 1}\"").unwrap();
        assert_eq!((row.sku.as_str(), row.name.as_str()), ("A-1", "=Knife"));
        assert_eq!((row.price, row.stock, row.line), (1999, 3, 7));
        assert_eq!(row.attributes.as_deref(), Some("{\"b\":1}"));
        let row = read(br#"A,N,,home,1,EUR,3,"{""a"": ""\\u0000""}""#).unwrap();
        assert_eq!(
            row.attributes.as_deref(),
            Some(r#"{"a":"\\u0000"}"#),
            "a backslash and letters"
        );
        let mut columns = Column::ALL.to_vec();
        columns.pop();
        columns.reverse();
        let record = Record { line: 1, raw: b"0,EUR,5,a,,N,S" };
        let row = RowReader::new(&columns).read(&record).unwrap();
        assert_eq!((row.sku.as_str(), row.price, row.attributes), ("S", 5, None));
    }

    #[test]
    fn a_bad_row_names_its_column_and_shows_itself() {
        for (line, column) in [
            (b"".as_slice(), ""),
            (b"a,b", ""),
            (b"S,N,D,c,1,EUR,1,{},more", ""),
            (b"S,N\xff,D,c,1,EUR,1,", ""),
            (b"S,N\0,D,c,1,EUR,1,", ""),
            (b"S,\"N\"x,D,c,1,EUR,1,", ""),
            (b"a b,N,D,c,1,EUR,1,", "sku"),
            (b"S,,D,c,1,EUR,1,", "name"),
            (b"S,N,\x07,c,1,EUR,1,", "description"),
            (b"S,N,D,No,1,EUR,1,", "category"),
            (b"S,N,D,c,1.5,EUR,1,", "price"),
            (b"S,N,D,c,-1,EUR,1,", "price"),
            (b"S,N,D,c,99999999999999999999,EUR,1,", "price"),
            (b"S,N,D,c,1,XXQ,1,", "currency"),
            (b"S,N,D,c,1,EUR,-1,", "stock"),
            (b"S,N,D,c,1,EUR,,", "stock"),
            (b"S,N,D,c,1,EUR,1,[]", "attributes"),
            (br#"S,N,D,c,1,EUR,1,"{""a"": ""\u0000""}""#, "attributes"),
            (br#"S,N,D,c,1,EUR,1,"{""a"": 1, ""a"": 2}""#, "attributes"),
        ] {
            let reject = read(line).expect_err("a reject");
            assert_eq!((reject.column, reject.line), (column, 7), "{reject:?}");
            assert!(!reject.original.contains('\0') && !reject.reason.is_empty());
        }
    }

    #[test]
    fn of_a_long_bad_row_the_beginning_is_kept() {
        assert_eq!(read(&[b'x'; 5_000]).unwrap_err().original.len(), MAX_ORIGINAL);
    }
}
