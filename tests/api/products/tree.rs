//! The tree of categories.

use serde_json::{Value, json};

use super::start;
use crate::support::products::{draft, path, with};

#[tokio::test]
async fn the_tree_counts_what_is_in_a_category_and_below() {
    let (app, staff) = start().await;
    let mut made = Vec::new();
    for (number, category) in ["a", "a/b", "a/b", "a/b/c", "a-b", "z"].into_iter().enumerate() {
        let body = with(draft(&format!("P-{number}")), json!({"category": category}));
        made.push(app.product(&staff, &body).await);
    }
    app.call("DELETE", &path(&made[5])).bearer(&staff.access).send().await.expect(204);
    let answer = app.get("/api/v1/categories").send().await.expect(200);
    assert_eq!(answer.header("cache-control"), "public, no-cache");
    fn shape(nodes: &Value) -> Value {
        let shape = |node: &Value| {
            json!([
                node["path"],
                node["slug"],
                node["products"],
                node["products_in_all"],
                shape(&node["children"])
            ])
        };
        nodes.as_array().unwrap().iter().map(shape).collect()
    }
    let expected = json!([
        ["a", "a", 1, 4, [["a/b", "b", 2, 3, [["a/b/c", "c", 1, 1, []]]]]],
        ["a-b", "a-b", 1, 1, []],
    ]);
    assert_eq!(shape(&answer.json()["data"]), expected);
}
