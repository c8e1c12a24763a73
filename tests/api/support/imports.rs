//! Files of products.

use super::{Person, TestApp};

pub const FILE: &str =
    "sku,name,description,category,price,currency,stock\r\nKN-1,Knife,,home,1,EUR,5\r\n";

impl TestApp {
    /// An import that waits for a worker; its id.
    pub async fn queued_import(&self, staff: &Person) -> String {
        let call = self.post("/api/v1/imports").bearer(&staff.access).text("text/csv", FILE);
        call.send().await.expect(202).json()["id"].as_str().unwrap().to_owned()
    }
}
