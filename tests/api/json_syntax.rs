//! The classes of texts that parsers of JSON disagree about (after nst/JSONTestSuite): what is not
//! JSON is refused as such, what is JSON never upsets the service, and neither takes time.

use std::time::{Duration, Instant};

use serde_json::json;

use super::support::{TestApp, people::PASSWORD};

/// Three times what is promised.
const PATIENCE: Duration = Duration::from_millis(300);

async fn status(app: &TestApp, text: &[u8]) -> u16 {
    status_within(app, text, PATIENCE).await
}

async fn status_within(app: &TestApp, text: &[u8], patience: Duration) -> u16 {
    let began = Instant::now();
    let call = app.post("/api/v1/auth/login").text("application/json", text.to_vec());
    let status = call.send().await.status.as_u16();
    let took = began.elapsed();
    assert!(took < patience, "{took:?} for {}", shown(text));
    status
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(80)]).into_owned()
}

const NO_NUMBERS: &[&str] = &[
    "+1",
    "++1",
    "-",
    "--1",
    "-a",
    "+Inf",
    "Infinity",
    "-Infinity",
    "NaN",
    "-NaN",
    "inf",
    ".1",
    "-.1",
    ".",
    "1.",
    "-1.",
    "0.e1",
    "2.e3",
    "1e",
    "1E",
    "1e+",
    "1E-",
    "0e",
    "0e+",
    "1eE2",
    "1e1.5",
    "01",
    "-01",
    "012",
    "00",
    "-00",
    "0x1",
    "0x",
    "1a",
    "1 000",
    "1_000",
    "0.1.2",
    "1.2.3",
    "1+2",
    "2-3",
    "1e1e1",
    "\u{ff11}",
    "\u{661}",
    "1\u{2009}0",
];

const NO_LITERALS: &[&str] = &[
    "tru",
    "True",
    "TRUE",
    "fals",
    "False",
    "nul",
    "Null",
    "NULL",
    "nulll",
    "truetrue",
    "undefined",
    "nil",
    "none",
    "a",
    "*",
    "#",
    "@",
    "$",
    "<",
    "<.>",
    "^",
    "`",
    "~",
    "é",
    "\u{2060}",
    "\u{feff}",
];

const NO_STRUCTURE: &[&str] = &[
    "",
    " ",
    "\t",
    "\n",
    "[",
    "]",
    "{",
    "}",
    "[]]",
    "{}}",
    "[[]",
    "[}",
    "{]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[,]",
    "[1,,2]",
    "[1 2]",
    "[1:2]",
    "[\"a\" \"b\"]",
    "[\"\",]",
    "[\"a",
    "[\"a\",\n4\n,1,",
    "[1}",
    "[3[4]]",
    "[1]x",
    "[1]1",
    "[1],",
    "[][]",
    "{}{}",
    "{} {}",
    "1 2",
    "\"a\" \"b\"",
    "[a]",
    "[\"x\"]]",
    "[{",
    "[{}",
    "[\"\\{[\"\\{[",
    "{,}",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\" 1}",
    "{\"a\":1,}",
    "{\"a\":1,,\"b\":2}",
    "{\"a\"::1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":1;\"b\":2}",
    "{a:1}",
    "{'a':1}",
    "{1:1}",
    "{null:1}",
    "{\"a\":'b'}",
    "{\"a\",\"b\"}",
    "{\"a\":1",
    "{\"a\":1]",
    "{\"a",
    "{\"a\":\"",
    "{:1}",
    "{[]:1}",
    "{\"a\":1}#",
    "{\"a\":1}//",
    "{\"a\":1}/**/",
    "/**/{}",
    "// x\n{}",
    "{/**/}",
    "[1/**/]",
    "{\"a\":/*x*/1}",
    "{\"a\":1}/**//",
    "\u{feff}{}",
    "\u{feff}",
    "{}\u{feff}",
    "[\u{a0}]",
    "[\u{2028}1]",
    "[\u{c}]",
    "[\u{b}]",
    "\u{0}",
    "{}\u{0}",
    "[1\u{0}]",
    "'a'",
    "'a",
    "a'",
    "\"",
    "\\",
    "<null>",
    "{\"a\":1,\"a\":2}",
    "{\"a\":{\"b\":0,\"\\u0062\":0}}",
    "[\u{2060}]",
    "{\"x\":[}",
];

const NO_STRINGS: &[&str] = &[
    r#""\"#,
    r#""\"", r#""\\\"", r#""a"#,
    r#""a\"#,
    r#""\u"#,
    r#""\u1"#,
    r#""\u12"#,
    r#""\u123"#,
    r#""\u""#,
    r#""\u1""#,
    r#""\u12""#,
    r#""\u123""#,
    r#""\u123g""#,
    r#""\U0041""#,
    r#""\u+041""#,
    r#""\u{41}""#,
    r#""\u 041""#,
    r#""\x41""#,
    r#""\101""#,
    r#""\ud800""#,
    r#""\udc00""#,
    r#""\ud800x""#,
    r#""\ud800\n""#,
    r#""\ud800\u0041""#,
    r#""\ud800\ud800""#,
    r#""\udc00\ud800""#,
    r#""\ud800\u""#,
    r#""\ud800\u1""#,
    r#""\ud834\udd""#,
    "\"\n\"",
    "\"\t\"",
    "\"a\r\nb\"",
];

/// Bytes that are no UTF-8 (overlong, cut short, surrogates, beyond Unicode, other encodings).
const NO_TEXT: &[&[u8]] = &[
    b"\"\xff\"",
    b"\"\x80\"",
    b"\"\xc3\"",
    b"\"\xc3\x28\"",
    b"\"\xc0\xaf\"",
    b"\"\xe0\x80\xaf\"",
    b"\"\xe2\x82\"",
    b"\"\xed\xa0\x80\"",
    b"\"\xed\xbf\xbf\"",
    b"\"\xf0\x80\x80\xaf\"",
    b"\"\xf4\x90\x80\x80\"",
    b"\"\xf5\x80\x80\x80\"",
    b"\"\xfc\x83\xbf\xbf\xbf\xbf\"",
    b"{\"\xff\":1}",
    b"[1\xff]",
    b"[\xff]",
    b"-\xff",
    b"1\xff",
    b"1e\xff",
    b"[\"\\u00\xff\"]",
    b"\xff\xfe{\0}\0",
    b"\xfe\xff\0{\0}",
    b"{\0}\0",
    b"\0{\0}",
    b"\xef\xbb",
    b"\xe5",
];

fn no_json() -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> = Vec::new();
    for value in NO_NUMBERS.iter().chain(NO_LITERALS) {
        texts.push(format!("[{value}]").into());
        texts.push(format!("{{\"a\":{value}}}").into());
    }
    texts.extend(NO_STRUCTURE.iter().chain(NO_STRINGS).map(|text| text.as_bytes().to_vec()));
    texts.extend(NO_TEXT.iter().map(|text| text.to_vec()));
    // Control characters belong in strings only when they are escaped,
    texts.extend((0..0x20).map(|control| vec![b'"', control, b'"']));
    // and nothing else may be escaped than these.
    let escapes = (0x20..0x7f).filter(|byte| !b"\"\\/bfnrtu".contains(byte));
    texts.extend(escapes.map(|escape| vec![b'"', b'\\', escape, b'"']));
    for nested in ["[", "{\"a\":", "[{\"a\":"] {
        texts.push(nested.repeat(100_000).into());
    }
    texts.push(format!("{}{}", "[".repeat(65), "]".repeat(65)).into());
    texts
}

#[tokio::test]
async fn what_is_not_json_is_refused_as_malformed() {
    let app = TestApp::new().await;
    let texts = no_json();
    assert!(texts.len() > 350, "{}", texts.len());
    for text in texts {
        assert_eq!(status(&app, &text).await, 400, "{}", shown(&text));
    }
}

const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "-1",
    "1",
    "123",
    "1.5",
    "-1.5",
    "0.5",
    "1e5",
    "1E5",
    "1e+5",
    "1E-5",
    "0e1",
    "0E+1",
    "20e1",
    "123.456e78",
    "-123.456e-78",
    "0.000000000000000000000000000000000000000000000001",
    "1e308",
    "1e-400",
    "-1e-400",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551616",
    "100000000000000000000000000000000",
    "5e-324",
    "1.7976931348623157e308",
];

const STRINGS: &[&str] = &[
    "",
    "a",
    " ",
    "a b",
    "\u{7f}",
    "é",
    "€",
    "😀",
    "\u{2028}",
    "\u{2029}",
    "\u{feff}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{10ffff}",
    "\u{202e}abc",
    "\u{200b}",
    "e\u{301}",
    "\\\"",
    "\\\\",
    "\\/",
    "\\b\\f\\n\\r\\t",
    "\\u0041",
    "\\u00e9",
    "\\uD834\\uDD1E",
    "\\ud83d\\ude39\\ud83d\\udc8d",
    "\\uFFFF",
    "\\uFDD0",
    "\\u2064",
    "\\u0022\\u005c",
    "\\u0012",
    "\\u007F",
    "\\uDBFF\\uDFFF",
    "// no comment",
    "/* no comment */",
    "\\u0060",
    "\\\\u0000",
    "aa\\/bb",
];

fn json_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "[]",
        "{}",
        "[[]]",
        "[[ ]]",
        "[{}]",
        "{\"\":0}",
        "{\"a\":[]}",
        "{\"a\":{\"a\":{}}}",
        " [1]",
        "[1]\n",
        "\t{\r\n}\t",
        "null",
        "true",
        "false",
        "1",
        "-0.1",
        "\"\"",
        "\"a\"",
        "[null]",
        "[1,null,2]",
        "[true,false,null,1,\"\",[],{}]",
        "{\"a\":\"b\",\"c\":1}",
        "{\"\\u0061\":1}",
        "{\"é\":1}",
        "{ \"min\": -1.0e+28, \"max\": 1.0e+28 }",
        "[[1],[2,[3,[4]]]]",
        "{\"a\" : 1 , \"b\" : [ 2 ] }",
    ]
    .map(str::to_owned)
    .into();
    for number in NUMBERS {
        texts.extend([format!("[{number}]"), format!("{{\"a\": {number} }}")]);
    }
    for string in STRINGS {
        texts.extend([format!("[\"{string}\"]"), format!("{{\"{string}\":\"{string}\"}}")]);
    }
    texts.push(format!("{}{}", "[".repeat(64), "]".repeat(64)));
    texts.push(format!("[{}1]", "1,".repeat(100_000)));
    texts
}

#[tokio::test]
async fn what_is_json_and_no_login_is_told_so() {
    let app = TestApp::new().await;
    let texts = json_texts();
    assert!(texts.len() > 150, "{}", texts.len());
    for text in texts {
        assert_eq!(status(&app, text.as_bytes()).await, 422, "{text}");
    }
    // Beyond what a double holds: JSON by its grammar, and nothing we would round.
    for text in ["[1e309]", "[-1e309]", "[1e99999]"] {
        assert_eq!(status(&app, text.as_bytes()).await, 400, "{text}");
    }
}

/// Keys of the same length made of "Aa" and "BB", which hash alike where a multiplier of 31 is used.
#[tokio::test]
async fn a_hundred_thousand_keys_take_no_time_and_neither_do_those_chosen_to_collide() {
    let app = TestApp::new().await;
    let many: Vec<_> = (0..100_000).map(|n| format!("\"{n:x}\":0")).collect();
    let colliding = |n: usize| {
        let key: String = (0..14).map(|bit| if n >> bit & 1 == 0 { "Aa" } else { "BB" }).collect();
        format!("\"{key}\":0")
    };
    let colliding: Vec<_> = (0..1 << 14).map(colliding).collect();
    for keys in [many, colliding] {
        let text = format!("{{{}}}", keys.join(","));
        assert!(text.len() < 1 << 20);
        // Tests are not optimised, which costs tenfold here. With collisions it would be minutes.
        let patience = 20 * PATIENCE;
        assert_eq!(status_within(&app, text.as_bytes(), patience).await, 422);
    }
}

#[tokio::test]
async fn a_string_of_ten_megabytes_is_too_large_and_one_of_almost_one_is_read() {
    let app = TestApp::new().await;
    let text = |size: usize| format!("{{\"email\":\"{}\"}}", "x".repeat(size));
    assert_eq!(status(&app, text(10_000_000).as_bytes()).await, 413);
    assert_eq!(status(&app, text(1_000_000).as_bytes()).await, 422);
    let escaped = format!("{{\"email\":\"{}\"}}", "\\u0041".repeat(170_000));
    assert_eq!(status(&app, escaped.as_bytes()).await, 422);
}

#[tokio::test]
async fn characters_beyond_the_first_plane_are_stored_as_they_came() {
    let app = TestApp::new().await;
    let ada = app.customer("ada").await;
    let text = r#"{"name": "Ada \ud83d\ude39 \u20ac 𝄞"}"#;
    let call = app.call("PATCH", "/api/v1/users/me").bearer(&ada.access);
    let answer = call.text("application/json", text).send().await.expect(200);
    assert_eq!(answer.json()["name"], "Ada 😹 € 𝄞");
    assert_eq!(app.count("select count(*) from users where name = 'Ada 😹 € 𝄞'").await, 1);
    app.login(&ada.email, PASSWORD).await.expect(200);
    let half = json!({"name": "\u{fffd}"}).to_string().replace('\u{fffd}', "\\ud83d");
    let call = app.call("PATCH", "/api/v1/users/me").bearer(&ada.access);
    call.text("application/json", half).send().await.expect_problem(400, "MALFORMED_REQUEST");
}
