//! Products of the tests.

use serde_json::{Value, json};

use super::{Answer, Call, Person, TestApp};

/// What a product needs, and no more.
pub fn draft(sku: &str) -> Value {
    json!({
        "sku": sku,
        "name": format!("Product {sku}"),
        "category": "home/kitchen",
        "price": {"amount": 1999, "currency": "EUR"},
        "stock": 10,
    })
}

/// The draft with some members changed, or with more.
pub fn with(mut draft: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        draft[name] = value.clone();
    }
    draft
}

pub fn id(product: &Value) -> &str {
    product["id"].as_str().unwrap()
}

pub fn path(product: &Value) -> String {
    format!("/api/v1/products/{}", id(product))
}

impl TestApp {
    pub async fn product(&self, staff: &Person, body: &Value) -> Value {
        self.create_product(staff, body).send().await.expect(201).json()
    }

    pub fn create_product(&self, staff: &Person, body: &Value) -> Call {
        self.post("/api/v1/products").bearer(&staff.access).json(body)
    }

    pub async fn patch_product(
        &self,
        staff: &Person,
        product: &Value,
        tag: &str,
        patch: &Value,
    ) -> Answer {
        let call = self.call("PATCH", &path(product)).bearer(&staff.access);
        call.header("if-match", tag).json(patch).send().await
    }

    pub fn adjustment(&self, staff: &Person, product: &Value, delta: i64) -> Call {
        let call = self.post(&format!("{}/stock-adjustments", path(product)));
        call.bearer(&staff.access).json(&json!({"delta": delta, "reason": "counted"}))
    }
}
