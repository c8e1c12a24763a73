//! How a file comes.

use std::{io::Write, time::Duration};

use axum::body::{Body, Bytes};
use flate2::{Compression, write::GzEncoder};
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::{HEAD, TestApp, id, rows, start};

fn gzip(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn form(name: &str, text: &[u8]) -> Vec<u8> {
    let head = format!(
        "--x\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"p.csv\"\r\n\r\n"
    );
    [head.as_bytes(), text, b"\r\n--x--\r\n"].concat()
}

#[tokio::test]
async fn a_file_comes_raw_compressed_or_in_a_form() {
    let (app, staff) = start().await;
    let text = format!("{HEAD}{}", rows(0, 3_000));
    let post = || app.post("/api/v1/imports").bearer(&staff.access);
    let twice = [gzip(HEAD), gzip(rows(0, 3_000))].concat();
    let form_type = "multipart/form-data; boundary=x";
    for (what, call) in [
        ("raw", post().text("text/csv; charset=UTF-8", text.clone())),
        ("coded", post().text("text/csv", gzip(&text)).header("content-encoding", "gzip")),
        ("as it is", post().text("application/gzip", gzip(&text))),
        ("two members", post().text("text/csv", twice)),
        ("form", post().text(form_type, form("file", text.as_bytes()))),
        ("gzip in a form", post().text(form_type, form("file", &gzip(&text)))),
    ] {
        let answer = call.send().await.expect(202);
        let import = answer.json();
        assert_eq!(answer.header("location"), format!("/api/v1/imports/{}", id(&import)));
        assert_eq!((&import["state"], &import["percent"]), (&json!("queued"), &json!(0)), "{what}");
        let import = app.import_over(&staff, &id(&import)).await;
        assert_eq!(import["rows_upserted"], json!(3_000), "{what}: {import}");
        assert_eq!(import["bytes_total"], json!(text.len()), "{what}");
    }
    assert_eq!(app.count("select count(*) from products").await, 3_000);
    app.assert_clean().await;
}

#[tokio::test]
async fn what_is_no_file_of_products_is_refused_at_once() {
    let (app, staff) = start().await;
    let post = || app.post("/api/v1/imports").bearer(&staff.access);
    let utf16: Vec<u8> = HEAD.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (text, code) in [
        (b"".to_vec(), "empty"),
        (b"sku,name\n".to_vec(), "missing_column"),
        (HEAD.replace("price", "colour").into_bytes(), "unknown_column"),
        (format!("sku,{HEAD}").into_bytes(), "repeated_column"),
        ([HEAD, &rows(0, 1)].concat().replace("\r\n", "\r").into_bytes(), "line_ends"),
        (utf16.clone(), "encoding"),
        ([b"\xff\xfe".as_slice(), &utf16].concat(), "encoding"),
        (vec![b'x'; 100_000], "header"),
        (["\n".repeat(300_000).as_str(), HEAD, &rows(0, 1)].concat().into_bytes(), "header"),
    ] {
        let answer = post().text("text/csv", text).send().await;
        let answer = answer.expect_problem(422, "VALIDATION_FAILED");
        assert_eq!(answer.faults(), [("file".to_owned(), code.to_owned())]);
    }
    for media in ["text/plain", "application/json", "text/csv; charset=utf-16", ""] {
        let answer = post().text(media, HEAD).send().await;
        answer.expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let coded = post().text("text/csv", HEAD).header("content-encoding", "br").send().await;
    coded.expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");
    let whole = gzip(format!("{HEAD}{}", rows(0, 100)));
    for broken in [&whole[..whole.len() - 4], &[0x1f, 0x8b, 0xff, 0xff], &whole[..30]] {
        let answer = post().text("application/gzip", broken.to_vec()).send().await;
        assert!(matches!(answer.status.as_u16(), 400 | 422), "{answer:?}");
    }
    let failed = "select count(*) from imports where state <> 'failed'";
    assert_eq!(app.count(failed).await, 0);
    app.assert_clean().await;
}

#[tokio::test]
async fn a_form_holds_the_file_and_nothing_else() {
    let (app, staff) = start().await;
    let post = |media: &str, body: Vec<u8>| {
        app.post("/api/v1/imports").bearer(&staff.access).text(media, body)
    };
    let media = "multipart/form-data; boundary=x";
    let file = form("file", HEAD.as_bytes());
    let two = [&file[..file.len() - 4], &file[3..]].concat();
    for (body, fault) in [
        (form("other", HEAD.as_bytes()), ("other", "unknown_field")),
        (b"--x--\r\n".to_vec(), ("file", "required")),
        (two, ("file", "repeated")),
    ] {
        let answer = post(media, body).send().await;
        assert_eq!(answer.status, 422, "{fault:?}");
        let answer = answer.expect_problem(422, "VALIDATION_FAILED");
        assert_eq!(answer.faults(), [(fault.0.to_owned(), fault.1.to_owned())]);
    }
    let flood = vec![b'.'; 3_000_000];
    let header = [b"--x\r\nX-A: ".as_slice(), &flood].concat();
    for (media, body) in [
        ("multipart/form-data", file.clone()),
        (media, file[..file.len() - 8].to_vec()),
        (media, header),
        (media, flood),
    ] {
        // In pieces, as it comes over a network.
        let pieces: Vec<_> = body
            .chunks(16_384)
            .map(|p| Ok::<_, std::io::Error>(Bytes::copy_from_slice(p)))
            .collect();
        let call = app.post("/api/v1/imports").bearer(&staff.access);
        let answer = call.text(media, Body::from_stream(stream::iter(pieces))).send().await;
        answer.expect_problem(400, "MALFORMED_REQUEST");
    }
    assert_eq!(app.count("select count(*) from imports where state <> 'failed'").await, 0);
}

#[tokio::test]
async fn bombs_and_floods_end_at_their_bounds() {
    let app = TestApp::with(&[("APP__IMPORTS__MAX_BYTES", "20000000")]).await;
    let staff = app.staff("staff").await;
    let post = || app.post("/api/v1/imports").bearer(&staff.access);
    let bomb = gzip([HEAD.as_bytes(), &vec![b'\n'; 15_000_000]].concat());
    assert!(bomb.len() < 20_000, "{}", bomb.len());
    let answer = post().text("text/csv", bomb).header("content-encoding", "gzip").send().await;
    answer.expect_problem(413, "PAYLOAD_TOO_LARGE");
    let large = [HEAD.as_bytes(), &vec![b'x'; 20_000_000]].concat();
    let announced =
        post().text("text/csv", large.clone()).header("content-length", large.len().to_string());
    announced.send().await.expect_problem(413, "PAYLOAD_TOO_LARGE");
    let pieces: Vec<_> =
        large.chunks(65_536).map(|p| Ok::<_, std::io::Error>(Bytes::copy_from_slice(p))).collect();
    let streamed = post().text("text/csv", Body::from_stream(stream::iter(pieces)));
    streamed.send().await.expect_problem(413, "PAYLOAD_TOO_LARGE");
    // Members without content inflate to nothing, for as long as one likes.
    let empty = gzip("");
    let endless =
        stream::iter(0..).map(move |_| Ok::<_, std::io::Error>(Bytes::from(empty.repeat(2_000))));
    let answer = post().text("application/gzip", Body::from_stream(endless)).send().await;
    answer.expect_problem(400, "MALFORMED_REQUEST");
    app.assert_clean().await;
}

#[tokio::test]
async fn an_upload_that_stands_still_is_given_up_and_a_slow_one_is_not() {
    let app = TestApp::with(&[
        ("APP__IMPORTS__PROGRESS_TIMEOUT", "1s"),
        ("APP__SERVER__REQUEST_TIMEOUT", "2s"),
        ("APP__SERVER__HARD_TIMEOUT", "2500ms"),
        ("APP__DATABASE__STATEMENT_TIMEOUT", "1500ms"),
        ("APP__DATABASE__LOCK_TIMEOUT", "1s"),
        ("APP__DATABASE__ACQUIRE_TIMEOUT", "1s"),
    ])
    .await;
    let staff = app.staff("staff").await;
    let slow = |pieces: u32, pause: u64| {
        let text = stream::iter(0..pieces).then(move |n| async move {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            Ok::<_, std::io::Error>(Bytes::from(if n == 0 {
                HEAD.to_owned()
            } else {
                rows(n as usize, n as usize + 1)
            }))
        });
        app.import(&staff, "", Body::from_stream(text))
    };
    let still = slow(3, 1_500).send().await;
    still.expect_problem(408, "BODY_TOO_SLOW");
    slow(11, 300).send().await.expect(202);
    assert_eq!(app.count("select count(*) from imports where state = 'failed'").await, 1);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing_and_one_whose_server_died_is_reaped() {
    let (app, staff) = start().await;
    let text = format!("{HEAD}{}", rows(0, 20_000));
    let pieces = stream::iter([Ok(Bytes::from(text)), Err(std::io::Error::other("gone"))]);
    let call = app.import(&staff, "", Body::from_stream(pieces)).header("idempotency-key", "k");
    call.send().await.expect_problem(400, "MALFORMED_REQUEST");
    app.assert_clean().await;
    // The key is free again.
    let again =
        app.import(&staff, "", HEAD).header("idempotency-key", "k").send().await.expect(202);
    assert_eq!(again.header("idempotent-replayed"), "");

    app.execute(
        "insert into imports (id, user_id, mode, dry_run, sets_stock, updated_at)
         values (gen_random_uuid(), gen_random_uuid(), 'partial', false, false, now() - interval '2 minutes')",
    )
    .await;
    app.execute(
        "insert into import_chunks select id, 0, 'x' from imports where state = 'uploading'",
    )
    .await;
    app.app.services.imports.reap().await.unwrap();
    assert_eq!(
        app.count("select count(*) from imports where error_code = 'upload_interrupted'").await,
        2
    );
    app.assert_clean().await;
    app.execute("update imports set finished_at = now() - interval '40 days'").await;
    app.app.services.imports.reap().await.unwrap();
    assert_eq!(app.count("select count(*) from imports where finished_at is not null").await, 0);
}

#[tokio::test]
async fn that_an_import_without_a_job_has_failed_is_told_like_any_other_end() {
    let app = TestApp::new().await;
    let staff = app.staff("staff").await;
    let import = app.import(&staff, "", format!("{HEAD}{}", rows(0, 1))).send().await.expect(202);
    app.execute("update jobs set state = 'dead', finished_at = now()").await;
    for _ in 0..2 {
        app.app.services.imports.reap().await.unwrap();
    }
    let told = "select count(*) from outbox_events where type = 'import.finished' and payload->>'error' = 'given_up'";
    assert_eq!(app.count(told).await, 1);
    let told = "select count(*) from audit_events where action = 'import.finished'";
    assert_eq!(app.count(told).await, 1);
    let found = app.get(import.header("location")).bearer(&staff.access).send().await.expect(200);
    assert_eq!(found.json()["error"]["code"], "given_up");
}

#[tokio::test]
async fn the_same_key_gets_the_same_import() {
    let (app, staff) = start().await;
    let other = app.staff("other").await;
    let send = async |staff, query, key: &str| {
        app.import(staff, query, format!("{HEAD}S,N,,a,1,EUR,1\n"))
            .header("idempotency-key", key)
            .send()
            .await
    };
    let first = send(&staff, "", "k").await.expect(202);
    let second = send(&staff, "", "\"k\"").await.expect(202);
    assert_eq!(
        (first.header("idempotent-replayed"), second.header("idempotent-replayed")),
        ("", "true")
    );
    assert_eq!(id(&first.json()), id(&second.json()));
    assert_eq!(first.header("location"), second.header("location"));
    send(&staff, "?mode=atomic", "k").await.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
    for other in ["S,N,,a,1,EUR,2\n", "S,N,,a,1,EUR,1\nT,N,,a,1,EUR,1\n", ""] {
        let call = app.import(&staff, "", format!("{HEAD}{other}")).header("idempotency-key", "k");
        call.send().await.expect_problem(422, "IDEMPOTENCY_KEY_REUSED");
    }
    send(&other, "?mode=atomic", "k").await.expect(202);
    send(&staff, "", "a b").await.expect_problem(400, "MALFORMED_REQUEST");
    assert_eq!(app.count("select count(*) from imports").await, 2);
    // A key is known for a day.
    app.execute("update imports set created_at = now() - interval '25 hours'").await;
    let third = send(&staff, "", "k").await.expect(202);
    assert_ne!(id(&third.json()), id(&first.json()));
}

#[tokio::test]
async fn after_its_server_died_a_file_is_sent_again_under_its_key() {
    let (app, staff) = start().await;
    let send = async || {
        let call = app.import(&staff, "", format!("{HEAD}S,N,,a,1,EUR,1\n"));
        call.header("idempotency-key", "k").send().await.expect(202)
    };
    let first = id(&send().await.json());
    app.import_over(&staff, &first).await;
    let dies = "update imports set state = 'uploading', finished_at = null,
                                   updated_at = now() - interval '2 minutes'";
    app.execute(dies).await;
    app.app.services.imports.reap().await.unwrap();
    let again = send().await;
    assert_eq!(again.header("idempotent-replayed"), "");
    assert_ne!(id(&again.json()), first);
}
