//! Search: by words, of which some may be misspelt.

use mainstay::services::reaper::{self, Turn};
use serde_json::{Value, json};

use super::{Person, TestApp, start};
use crate::support::products::{draft, with};

async fn stocked() -> (TestApp, Person) {
    let (app, staff) = start().await;
    for (sku, name, description) in [
        ("A-1", "Mechanical Keyboard", "Clicks with every key"),
        ("A-2", "Oak Chair", "A chair with arms, next to your keyboard"),
        ("A-3", "Desk Lamp", "Lights the keyboard and the oak desk"),
        ("A-4", "Küchenmesser Größe 20", "Scharf"),
        ("A-5", "包丁 三徳", "日本の台所"),
        ("A-6", "Настольная лампа", "Светит"),
        ("XK/9000.b", "Thing", "Whatever"),
    ] {
        let words =
            json!({"name": name, "description": description, "attributes": {"steel": "Damascus"}});
        app.product(&staff, &with(draft(sku), words)).await;
    }
    (app, staff)
}

async fn search(app: &TestApp, q: &str) -> Vec<String> {
    let q: String = url::form_urlencoded::byte_serialize(q.as_bytes()).collect();
    let answer = app.get(&format!("/api/v1/products?limit=100&q={q}")).send().await.expect(200);
    let rows = answer.json()["data"].as_array().cloned().unwrap();
    rows.iter().map(|row| row["sku"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn words_are_found_wherever_they_stand_and_best_first() {
    let (app, _) = stocked().await;
    assert_eq!(search(&app, "keyboard").await[0], "A-1");
    assert_eq!(search(&app, "keyboard").await.len(), 3);
    for (q, found) in [
        ("KEYBOARD chair", vec!["A-2"]),
        ("chair oak", vec!["A-2"]),
        ("oak desk keyboard", vec!["A-3"]),
        ("mech", vec!["A-1"]),
        ("keyboard mech", vec!["A-1"]),
        ("küchenmesser", vec!["A-4"]),
        ("KÜCHENMESSER GRÖSSE", vec!["A-4"]),
        ("größe", vec!["A-4"]),
        ("包丁", vec!["A-5"]),
        ("日本の台所", vec!["A-5"]),
        ("НАСТОЛЬНАЯ", vec!["A-6"]),
        ("xk 9000", vec!["XK/9000.b"]),
        ("XK/9000.b", vec!["XK/9000.b"]),
        ("A-3", vec!["A-3"]),
        ("keyboard zebra", vec![]),
    ] {
        assert_eq!(search(&app, q).await, found, "{q}");
    }
    assert_eq!(search(&app, "damascus").await.len(), 7);
}

#[tokio::test]
async fn a_misspelt_word_finds_its_likes_each_for_itself() {
    let (app, _) = stocked().await;
    for (q, found) in [
        ("keybord", "A-1"),
        ("keyboadr", "A-1"),
        ("kexboard", "A-1"),
        ("mechancal keyboord", "A-1"),
        ("chiar", "A-2"),
        ("chxir", "A-2"),
        ("oak cahir", "A-2"),
        ("lmap", "A-3"),
        ("kuchenmesser", "A-4"),
        ("küchenmeser", "A-4"),
    ] {
        assert_eq!(search(&app, q).await.first().map(String::as_str), Some(found), "{q}");
    }
    assert_eq!(search(&app, "keybord chiar").await, ["A-2"]);
    for nothing in ["xyzzy", "kbd", "keyboardkeyboardkeyboard"] {
        assert_eq!(search(&app, nothing).await, Vec::<String>::new(), "{nothing}");
    }
}

#[tokio::test]
async fn words_follow_their_product() {
    let (app, staff) = stocked().await;
    let all = app.get("/api/v1/products?q=lamp").send().await.expect(200).json();
    let lamp = all["data"][0].clone();
    let patch = json!({"name": "Quixotic Lantern"});
    app.patch_product(&staff, &lamp, "*", &patch).await.expect(200);
    assert_eq!(search(&app, "lamp").await, Vec::<String>::new());
    assert_eq!(search(&app, "quixotci lantren").await, ["A-3"]);
    let path = crate::support::products::path(&lamp);
    app.call("DELETE", &path).bearer(&staff.access).send().await.expect(204);
    assert_eq!(search(&app, "quixotic").await, Vec::<String>::new());
}

#[tokio::test]
async fn of_what_is_written_without_spaces_any_part_is_found() {
    let (app, staff) = start().await;
    for (sku, name, colour) in [
        ("C-1", "智能手机壳 防摔", "深空灰色"),
        ("C-2", "iPhone手机膜", "透明"),
        ("C-3", "カメラバッグ", "紺"),
        ("C-4", "스마트폰케이스", "검정"),
        ("C-5", "𠮷野家の丼 5号", "赤"),
    ] {
        let words = json!({"name": name, "attributes": {"colour": {"shade": colour}, "年": 1}});
        app.product(&staff, &with(draft(sku), words)).await;
    }
    for (q, found) in [
        ("手机", vec!["C-1", "C-2"]),
        ("手机壳", vec!["C-1"]),
        ("智能手机壳", vec!["C-1"]),
        ("壳", vec!["C-1"]),
        ("手", vec!["C-1", "C-2"]),
        ("防摔 手机", vec!["C-1"]),
        ("手 膜", vec!["C-2"]),
        ("机手", vec![]),
        ("手机 椅", vec![]),
        ("iPhone 手机", vec!["C-2"]),
        ("IPHONE手机膜", vec!["C-2"]),
        ("手机 iph", vec!["C-2"]),
        ("バッグ", vec!["C-3"]),
        ("ｶﾒﾗ", vec!["C-3"]),
        ("폰케", vec!["C-4"]),
        ("케이스", vec!["C-4"]),
        ("空灰", vec!["C-1"]),
        ("透明", vec!["C-2"]),
        ("𠮷野", vec!["C-5"]),
        ("5号", vec!["C-5"]),
    ] {
        let mut skus = search(&app, q).await;
        skus.sort();
        assert_eq!(skus, found, "{q}");
    }
    // Nothing but numbers under a name of this kind; and as much text as there may be.
    let long: String = ('\u{4e00}'..).take(10_000).collect();
    for words in [json!({"attributes": {"年": 1}}), json!({"description": long})] {
        app.product(&staff, &with(draft(&format!("L-{}", words.to_string().len())), words)).await;
    }
    assert_eq!(search(&app, "一丁").await.len(), 1);
    let learnt = "select count(*) from search_words where search_is_run(word)";
    assert_eq!(app.count(learnt).await, 0, "no misspelling of these is looked for");
}

/// A slip of the pen that was mended is one again.
#[tokio::test]
async fn a_word_that_no_product_has_any_more_is_forgotten() {
    let (app, staff) = stocked().await;
    let slip = app.product(&staff, &with(draft("K-1"), json!({"name": "Keybord oak"}))).await;
    assert_eq!(search(&app, "keybord").await, ["K-1"]);
    app.patch_product(&staff, &slip, "*", &json!({"name": "Piano oak"})).await.expect(200);
    let forget = async || {
        let mut place = String::new();
        while let Turn::Taken(Some(last)) =
            reaper::forget_words(&app.app.db, &place, 7).await.unwrap()
        {
            place = last;
        }
    };
    let rows = "select count(*) from search_words where word = 'keybord'";
    forget().await;
    assert_eq!(search(&app, "keybord").await[0], "A-1", "it is misspelt again");
    forget().await;
    assert_eq!(app.count(rows).await, 1, "somebody may be about to use it");
    let later = "update search_words set unused_since = unused_since - interval '121 minutes'";
    app.execute(later).await;
    forget().await;
    assert_eq!(app.count(rows).await, 0);
    assert_eq!(search(&app, "keybord").await[0], "A-1");
    assert_eq!(search(&app, "chiar").await, ["A-2"], "what is in use stays");
}

#[tokio::test]
async fn a_forgotten_word_that_comes_back_is_known() {
    let (app, staff) = stocked().await;
    let lost = app.product(&staff, &with(draft("K-1"), json!({"name": "Zither"}))).await;
    app.patch_product(&staff, &lost, "*", &json!({"name": "Piano"})).await.expect(200);
    reaper::forget_words(&app.app.db, "", reaper::WORDS).await.unwrap();
    let marked =
        "select count(*) from search_words where word = 'zither' and unused_since is not null";
    assert_eq!(app.count(marked).await, 1);
    app.product(&staff, &with(draft("K-2"), json!({"name": "Zither"}))).await;
    assert_eq!(search(&app, "zihter").await, ["K-2"]);
    reaper::forget_words(&app.app.db, "", reaper::WORDS).await.unwrap();
    assert_eq!(app.count(marked).await, 0, "it is in use again");
}

#[tokio::test]
async fn filters_orders_and_pages_go_with_a_search() {
    let (app, staff) = start().await;
    for number in 0..30 {
        let words = json!({
            "name": format!("Garden {} {number}", if number % 2 == 0 { "chair" } else { "table" }),
            "description": if number % 3 == 0 { "chair chair" } else { "" },
            "price": {"amount": 1000 - number, "currency": "EUR"},
            "stock": number % 5,
            "category": if number < 20 { "garden" } else { "garden/sets" },
        });
        app.product(&staff, &with(draft(&format!("G-{number}")), words)).await;
    }
    let walk = async |query: &str| -> Vec<Value> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let at = format!("/api/v1/products?limit=4&q=chair{query}{cursor}");
            let page = app.get(&at).send().await.expect(200).json();
            rows.extend(page["data"].as_array().unwrap().clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    };
    let price = |row: &Value| row["price"]["amount"].as_i64().unwrap();
    let ranked = walk("").await;
    assert_eq!(ranked.len(), 20);
    let skus: std::collections::HashSet<_> =
        ranked.iter().map(|row| row["sku"].to_string()).collect();
    assert_eq!(skus.len(), 20);
    let named = |row: &Value| row["name"].as_str().unwrap().contains("chair");
    assert!(ranked[..15].iter().all(named) && !ranked[15..].iter().any(named));
    let by_price = walk("&sort=price").await;
    assert!(by_price.len() == 20 && by_price.is_sorted_by_key(price));
    assert_eq!(walk("&category=garden/sets&sort=name").await.len(), 7);
    assert!(walk("&in_stock=false&sort=newest").await.iter().all(|row| row["stock"] == 0));
    assert_eq!(walk("&min_price=990&max_price=995").await.len(), 4);
    let counted = app.get("/api/v1/products?q=chair&count=exact&limit=1").send().await.json();
    assert_eq!(counted["total"], 20);
}

#[tokio::test]
async fn whatever_is_typed_is_answered_quickly_and_without_a_fault() {
    let (app, _) = stocked().await;
    let long = "a".repeat(200);
    let many = "ab ".repeat(66);
    // Written out, a word as long as no index takes.
    let swells = format!("{}アア", "㌀".repeat(170));
    for q in [
        "'",
        "\"",
        "\\",
        "&",
        "|",
        "!",
        "<->",
        ":*",
        "(",
        ")",
        "a & b",
        "!!!",
        "''''",
        "a:*b",
        "\\'",
        "%",
        "_",
        "; drop table products",
        "$1",
        "{}",
        "[]",
        "<script>",
        "=",
        "=keyboard",
        "\u{202e}",
        "🔪",
        "👨‍👩‍👧",
        "é",
        "e\u{301}",
        "ß",
        "\u{1}",
        "\n",
        "\t",
        "ﬀ",
        "١٢٣",
        "a\u{300}\u{301}",
        "..",
        "http://example.com/a?b=c",
        "a@b.c",
        "-5",
        "1e400",
        "0x10",
        "1.5.6",
        "'keyb' <-> 'x'",
        &long,
        &many,
        "::tsquery",
        "keyboard\\",
        "\u{10ffff}",
        "\u{fffe}",
        &swells,
    ] {
        let started = std::time::Instant::now();
        search(&app, q).await;
        assert!(started.elapsed().as_secs() < 3, "{q}");
    }
    let too_long = app.get(&format!("/api/v1/products?q={long}a")).send().await;
    assert_eq!(too_long.expect_problem(422, "VALIDATION_FAILED").faults()[0].0, "q");
    let huge = app.get(&format!("/api/v1/products?q={}", "%27".repeat(3400))).send().await;
    huge.expect_problem(414, "URI_TOO_LONG");
    for (empty, count) in [("", 7), ("+", 7), ("%21", 0)] {
        let answer = app.get(&format!("/api/v1/products?q={empty}")).send().await.expect(200);
        assert_eq!(answer.json()["data"].as_array().unwrap().len(), count, "{empty}");
    }
}
