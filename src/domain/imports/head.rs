//! The first line of a file: which column is where.

use super::{MAX_RECORD, unreadable};
use crate::{
    domain::csv::{self, Place, Records},
    error::Result,
};

/// The first line, and empty ones before it, end within this many bytes.
pub const MAX_HEAD: usize = 16 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Sku,
    Name,
    Description,
    Category,
    Price,
    Currency,
    Stock,
    Attributes,
}

impl Column {
    pub const ALL: [Column; 8] = [
        Column::Sku,
        Column::Name,
        Column::Description,
        Column::Category,
        Column::Price,
        Column::Currency,
        Column::Stock,
        Column::Attributes,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Column::Sku => "sku",
            Column::Name => "name",
            Column::Description => "description",
            Column::Category => "category",
            Column::Price => "price",
            Column::Currency => "currency",
            Column::Stock => "stock",
            Column::Attributes => "attributes",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.as_str() == name)
    }
}

/// The columns in the order of the file, and where its rows begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub columns: Vec<Column>,
    pub rows: Place,
}

impl Head {
    /// Reads the beginning of a file; `None` when the first line goes on. `whole` says that
    /// nothing follows.
    pub fn read(beginning: &[u8], whole: bool) -> Result<Option<Self>> {
        check_encoding(beginning)?;
        let mark = if beginning.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        Self::after(mark, beginning, whole).map_err(|error| match ends_in_cr(&beginning[mark..]) {
            true => {
                unreadable("line_ends", "must end its lines with LF or CRLF, not with CR alone")
            }
            false => error,
        })
    }

    fn after(mark: usize, beginning: &[u8], whole: bool) -> Result<Option<Self>> {
        let start = Place { offset: mark as u64, line: 1 };
        let mut records = Records::from(start, MAX_HEAD.min(MAX_RECORD));
        records.feed(&beginning[mark..]);
        if whole {
            records.end();
        }
        let too_long = "its first line must name the columns, in at most 16384 bytes";
        let record = records.next_record().map_err(|_| unreadable("header", too_long))?;
        let columns = match record {
            Some(record) => columns(record.raw)?,
            None if beginning.len() > MAX_HEAD => return Err(unreadable("header", too_long)),
            None if whole => return Err(unreadable("empty", "is empty")),
            None => return Ok(None),
        };
        Ok(Some(Self { columns, rows: records.place() }))
    }
}

/// Whether lines end as on old Macs. Asked only of what cannot be read: to all readers of CSV the
/// whole file is one line then, and any fault that they find in it leads astray.
fn ends_in_cr(text: &[u8]) -> bool {
    let text = text[..text.len().min(MAX_HEAD)].trim_ascii_start();
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line).contains(&b'\r')
}

fn check_encoding(beginning: &[u8]) -> Result<()> {
    let utf16 = [b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| beginning.starts_with(*mark));
    let head = &beginning[..beginning.len().min(MAX_HEAD)];
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match utf16 || line.contains(&0) {
        true => Err(unreadable("encoding", "must be text in UTF-8, not in UTF-16 or binary")),
        false => Ok(()),
    }
}

fn columns(raw: &[u8]) -> Result<Vec<Column>> {
    let not_text = || unreadable("encoding", "must be text in UTF-8");
    let text = std::str::from_utf8(raw).map_err(|_| not_text())?;
    let names = csv::fields(text);
    let names = names.ok_or_else(|| unreadable("header", "its first line has a stray quote"))?;
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let name = name.trim();
        let Some(column) = Column::parse(&name.to_ascii_lowercase()) else {
            let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            return Err(unreadable("unknown_column", format!("has the unknown column '{name}'")));
        };
        if columns.contains(&column) {
            let name = column.as_str();
            return Err(unreadable("repeated_column", format!("has the column '{name}' twice")));
        }
        columns.push(column);
    }
    let needed = Column::ALL.iter().filter(|column| **column != Column::Attributes);
    let missing: Vec<_> = needed.filter(|c| !columns.contains(c)).map(|c| c.as_str()).collect();
    match missing.is_empty() {
        true => Ok(columns),
        false => Err(unreadable("missing_column", format!("lacks {}", missing.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "sku,name,description,category,price,currency,stock";

    fn read(text: impl AsRef<[u8]>) -> Result<Option<Head>, String> {
        Head::read(text.as_ref(), true).map_err(|error| error.fields()[0].code.to_string())
    }

    #[test]
    fn columns_come_in_any_order_and_with_a_mark() {
        let head = read(
            "\u{feff}Stock, currency ,\"price\",attributes,category,description,name,sku\r\n1",
        )
        .unwrap();
        let head = head.unwrap();
        assert_eq!((head.columns[0], head.columns[7]), (Column::Stock, Column::Sku));
        assert_eq!(head.rows.line, 2);
        assert_eq!(read(PLAIN).unwrap().unwrap().columns.len(), 7);
        let stray = PLAIN.replace(',', "\r,") + "\r\r\n";
        assert_eq!(read(stray).unwrap().unwrap().columns.len(), 7, "white space as any other");
        assert_eq!(Head::read(&PLAIN.as_bytes()[..20], false).unwrap(), None);
    }

    #[test]
    fn what_is_no_head_is_refused_by_name() {
        let repeated = format!("{PLAIN},sku\n");
        let utf16: Vec<u8> = PLAIN.bytes().flat_map(|byte| [byte, 0]).collect();
        let marked = [b"\xff\xfe".as_slice(), &utf16].concat();
        let long = "x".repeat(MAX_HEAD + 1);
        let blank = "\n".repeat(MAX_HEAD + 1);
        let mac = format!("{PLAIN}\rKN-1,Knife,,home,1,EUR,5\r");
        let many = mac.repeat(MAX_HEAD / mac.len() + 1);
        let quoted = format!("\r{PLAIN},\"attributes\"\rKN-1,Knife,\n");
        let cases: [(&[u8], &str); 16] = [
            (b"", "empty"),
            (b"\r\n\r\n", "empty"),
            (b"sku,name\n", "missing_column"),
            (b"sku,colour\n", "unknown_column"),
            (repeated.as_bytes(), "repeated_column"),
            (&utf16, "encoding"),
            (&marked, "encoding"),
            (b"sku,n\xffme\n", "encoding"),
            (b"\"sku\"x,name\n", "header"),
            (b"\"sku,name\n", "header"),
            (long.as_bytes(), "header"),
            (blank.as_bytes(), "header"),
            (mac.as_bytes(), "line_ends"),
            (many.as_bytes(), "line_ends"),
            (quoted.as_bytes(), "line_ends"),
            (b"sku,colour\r\nKN-1,a\rb", "unknown_column"),
        ];
        for (text, code) in cases {
            assert_eq!(read(text), Err(code.to_owned()), "{:?}", String::from_utf8_lossy(text));
        }
    }
}
