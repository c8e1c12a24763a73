use super::*;
use crate::error::Result;

fn draft() -> Draft {
    Draft {
        sku: "KN-1".into(),
        name: "Knife".into(),
        category: "home/kitchen".into(),
        amount: 1999,
        currency: "EUR".into(),
        ..Draft::default()
    }
}

fn faults<T>(checked: Result<T>) -> Vec<String> {
    let error = checked.err().expect("a refusal");
    error.fields().iter().map(|fault| fault.field.clone()).collect()
}

#[test]
fn the_faults_of_all_fields_are_told_together() {
    assert!(NewProduct::check(draft()).is_ok());
    let bad = Draft {
        sku: "a b".into(),
        name: " ".into(),
        description: "a\u{1}".into(),
        category: "No".into(),
        amount: -1,
        currency: "XXQ".into(),
        stock: -1,
        attributes: [("".to_owned(), Value::Null)].into_iter().collect(),
    };
    let all = [
        "sku",
        "name",
        "description",
        "category",
        "price.amount",
        "price.currency",
        "attributes",
        "stock",
    ];
    assert_eq!(faults(NewProduct::check(bad)), all);
}

#[test]
fn a_booking_moves_something_and_says_why() {
    assert!(Adjustment::check(-3, "broken").is_ok());
    assert_eq!(faults(Adjustment::check(0, "")), ["reason", "delta"]);
    for delta in [i64::MIN, i64::MAX, MAX_MOVEMENT + 1, -MAX_MOVEMENT - 1] {
        assert_eq!(faults(Adjustment::check(delta, "x")), ["delta"]);
    }
}

#[test]
fn a_patch_changes_what_it_names() {
    let product = Product {
        id: ProductId(uuid::Uuid::nil()),
        sku: "KN-1".into(),
        name: "Knife".into(),
        description: String::new(),
        category: "home".into(),
        price: 1999,
        currency: "EUR".into(),
        attributes: serde_json::json!({}),
        stock: 1,
        version: 3,
        stock_version: 4,
        archived: false,
        created_at: DateTime::UNIX_EPOCH,
        updated_at: DateTime::UNIX_EPOCH,
    };
    let price = Some(Price::parse(1999, "USD").unwrap());
    let name = Some(ProductName::parse("Knife").unwrap());
    let after = ProductPatch { price, name, ..ProductPatch::default() }.apply(&product);
    assert_eq!(changed(&product, &after), ["price"]);
    assert_eq!((after.price, after.currency.as_str(), after.revision()), (1999, "USD", 7));
    assert_eq!(ProductPatch::default().apply(&product), product);
}
