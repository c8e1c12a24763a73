//! Bad rows and bad files.

use serde_json::json;

use super::{HEAD, id, rows, start};

#[tokio::test]
async fn bad_rows_are_told_by_line_and_good_ones_are_kept() {
    let (app, staff) = start().await;
    let mut text = format!("\u{feff}{HEAD}").into_bytes();
    for row in [
        b"A,Good,\"two\nlines\",a,1,EUR,1".as_slice(),
        b"B,Bad\xff,,a,1,EUR,1",
        b"C,Nul\0,,a,1,EUR,1",
        b"D,short",
        b"E,Long,,a,1,EUR,1,more",
        b"F,Good,,a,1,EUR,1",
        b"=cmd(),Price,,a,1.5,EUR,1",
        b"G,\"Quote\"x,,a,1,EUR,1",
    ] {
        text.extend_from_slice(row);
        text.extend_from_slice(b"\r\n");
    }
    let import = app.imported(&staff, "", text).await;
    assert_eq!(import["state"], "succeeded", "{import}");
    assert_eq!((&import["rows_read"], &import["rows_rejected"]), (&json!(8), &json!(6)));
    assert_eq!(app.tables().await.len(), 2);
    let answer = app.rejects(&staff, &import).await;
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    assert!(answer.header("content-disposition").starts_with("attachment; filename="));
    let text = String::from_utf8(answer.body).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "line,column,reason,original");
    let begins = [
        "4,,is not valid UTF-8,",
        "5,,contains NUL,",
        "6,,has 2 fields where 7 are named,",
        "7,,has 8 fields where 7 are named,",
        "9,price,must be a whole number,\"'=cmd(),Price",
        "10,,\"has text after",
    ];
    for (line, begin) in lines[1..].iter().zip(begins) {
        assert!(line.starts_with(begin), "{line} should begin with {begin}");
    }
    assert_eq!(lines.len(), 7);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_on_fails_and_says_where() {
    let (app, staff) = start().await;
    let long = "x".repeat(300_000);
    for (rest, code, line) in [
        ("S,\"never closed,,a,1,EUR,1\nT,T,,a,1,EUR,1\n".to_owned(), "unclosed_quote", 12),
        (format!("S,{long},,a,1,EUR,1\n"), "record_too_long", 12),
        (format!("S,\"{}\n", "more\n".repeat(80_000)), "record_too_long", 12),
    ] {
        let import = app.imported(&staff, "", format!("{HEAD}{}{rest}", rows(0, 10))).await;
        assert_eq!((&import["state"], &import["error"]["code"]), (&json!("failed"), &json!(code)));
        assert_eq!(
            (&import["error"]["line"], &import["rows_upserted"]),
            (&json!(line), &json!(10))
        );
        assert_eq!(app.count("select count(*) from products").await, 10, "the rows before stay");
    }
    app.assert_clean().await;
}

#[tokio::test]
async fn every_reject_is_shown_up_to_a_million_and_the_others_are_counted() {
    let (app, staff) = start().await;
    let import = app.imported(&staff, "", format!("{HEAD}{}", "bad\n".repeat(12_345))).await;
    assert_eq!(
        (&import["rows_rejected"], &import["rejects_left_out"]),
        (&json!(12_345), &json!(0))
    );
    let text = String::from_utf8(app.rejects(&staff, &import).await.body).unwrap();
    assert_eq!(text.lines().count(), 12_346);
    assert!(text.lines().last().unwrap().starts_with("12346,,"));
    let path = format!("/api/v1/imports/{}/rejects", id(&import));
    let call = app.get(&path).bearer(&staff.access).header("accept", "application/json");
    call.send().await.expect_problem(406, "NOT_ACCEPTABLE");

    app.execute("update imports set finished_at = now() - interval '40 days'").await;
    app.app.services.imports.reap().await.unwrap();
    assert_eq!(app.count("select count(*) from import_rejects").await, 0);
}

#[tokio::test]
async fn beyond_a_million_rejects_are_counted_only() {
    let (app, staff) = start().await;
    let admin = app.admin("admin").await;
    let queue = async |what: &str| {
        let path = format!("/api/v1/admin/queues/bulk/{what}");
        app.post(&path).bearer(&admin.access).send().await.expect(204);
    };
    queue("pause").await;
    let text = format!("{HEAD}{}", "bad\n".repeat(5));
    let import = app.import(&staff, "", text).send().await.expect(202).json();
    app.execute("update imports set rows_rejected = 999998").await;
    queue("resume").await;
    let import = app.import_over(&staff, &id(&import)).await;
    assert_eq!(
        (&import["rows_rejected"], &import["rejects_left_out"]),
        (&json!(1_000_003), &json!(3))
    );
    assert_eq!(app.count("select count(*) from import_rejects").await, 2);
}

#[tokio::test]
async fn a_file_without_rows_is_no_fault() {
    let (app, staff) = start().await;
    for text in [HEAD, HEAD.trim_end()] {
        let import = app.imported(&staff, "", text).await;
        assert_eq!((&import["state"], &import["rows_read"]), (&json!("succeeded"), &json!(0)));
    }
}
