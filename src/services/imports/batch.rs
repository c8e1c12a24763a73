//! Batches: so many rows as are stored together, and what is wrong with the others.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use crate::{
    domain::{
        csv::{Broken, Place, Records},
        ids::ImportId,
        imports::{BATCH_BYTES, BATCH_ROWS, Import, MAX_RECORD, Reject, Row, RowReader},
    },
    error::Result,
    repos,
};

/// Reads a staged file from a place where a record begins. Batches end at the same rows whoever
/// reads them, so that a resumed import stores what an undisturbed one does.
pub struct Batches {
    import: ImportId,
    rows: RowReader,
    records: Records,
    /// Where the next piece begins.
    at: u64,
    ended: bool,
}

pub struct Batch {
    pub from: Place,
    pub to: Place,
    pub rows: Vec<Row>,
    pub rejects: Vec<Reject>,
    /// Nothing follows.
    pub is_last: bool,
    /// Why nothing that follows can be read.
    pub broken: Option<Broken>,
}

impl Batches {
    pub fn from(import: &Import, place: Place) -> Self {
        Self {
            import: import.id,
            rows: RowReader::new(&import.columns),
            records: Records::from(place, MAX_RECORD),
            at: place.offset,
            ended: false,
        }
    }

    pub async fn next(&mut self, conn: &mut PgConnection) -> Result<Batch> {
        let from = self.records.place();
        let mut batch = Batch {
            from,
            to: from,
            rows: Vec::new(),
            rejects: Vec::new(),
            is_last: false,
            broken: None,
        };
        while !self.fill(&mut batch) {
            if self.ended {
                batch.is_last = true;
                break;
            }
            self.feed(conn).await?;
            // A piece takes some milliseconds of the processor, and others wait for it too.
            tokio::task::yield_now().await;
        }
        batch.to = self.records.place();
        Ok(batch)
    }

    async fn feed(&mut self, conn: &mut PgConnection) -> Result<()> {
        match repos::imports::chunks::read(conn, self.import, self.at).await? {
            Some(piece) => {
                self.at += piece.len() as u64;
                self.records.feed(&piece);
            }
            None => {
                self.records.end();
                self.ended = true;
            }
        }
        Ok(())
    }

    /// Takes what has been fed; true when the batch is full or the file broken.
    fn fill(&mut self, batch: &mut Batch) -> bool {
        loop {
            if batch.is_full(self.records.place()) {
                return true;
            }
            match self.records.next_record() {
                Ok(None) => return false,
                Ok(Some(record)) => match self.rows.read(&record) {
                    Ok(row) => batch.rows.push(row),
                    Err(reject) => batch.rejects.push(reject),
                },
                Err(broken) => {
                    batch.broken = Some(broken);
                    return true;
                }
            }
        }
    }
}

impl Batch {
    fn is_full(&self, place: Place) -> bool {
        self.read() >= BATCH_ROWS || place.offset - self.from.offset >= BATCH_BYTES as u64
    }

    pub fn read(&self) -> usize {
        self.rows.len() + self.rejects.len()
    }

    /// Each SKU once: its last row, and the stock of its first one, which is what a new product
    /// would begin with if the rows came one by one.
    pub fn distinct(&self, sets_stock: bool) -> Vec<(&Row, i64)> {
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(self.rows.len());
        let mut distinct: Vec<(&Row, i64)> = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let place = *places.entry(row.sku.as_str()).or_insert(distinct.len());
            match distinct.get_mut(place) {
                Some((last, initial)) => {
                    *last = row;
                    if sets_stock {
                        *initial = row.stock;
                    }
                }
                None => distinct.push((row, row.stock)),
            }
        }
        distinct
    }

    /// The bad rows in the order of the file, those of refused SKUs among them.
    pub fn rejects_with(&self, refused: &[String], reason: &str) -> Vec<Reject> {
        let mut rejects = self.rejects.clone();
        if !refused.is_empty() {
            let refused: HashSet<&str> = refused.iter().map(String::as_str).collect();
            let rows = self.rows.iter().filter(|row| refused.contains(row.sku.as_str()));
            rejects.extend(rows.map(|row| row.reject("sku", reason)));
            rejects.sort_by_key(|reject| reject.line);
        }
        rejects
    }
}
