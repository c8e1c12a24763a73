use super::*;
use crate::domain::mail::Device as Raw;

const HOSTILE: &str = "<script>alert(1)</script>\" onload='x' {{ 7*7 }} \r\nBcc: a@b.example";

fn letters() -> Letters {
    Letters::new("The Shop & Sons", Url::parse("https://shop.example/").unwrap()).unwrap()
}

fn every_letter(typed: &str) -> Vec<Letter> {
    let at = Moment(DateTime::from_timestamp(1_790_000_000, 0).unwrap());
    let link = || Url::parse("https://shop.example/account/x#token=abc_-1").unwrap();
    let device = || Device { name: typed.to_owned(), address: typed.to_owned() };
    vec![
        Letter::VerifyEmail { link: link(), valid_for: "24 hours" },
        Letter::ResetPassword { link: link(), valid_for: "30 minutes" },
        Letter::ChangeEmail { link: link(), valid_for: "24 hours" },
        Letter::EmailChanged { at },
        Letter::PasswordChanged { at },
        Letter::NewDevice { at, device: device() },
        Letter::TokenReused { at, device: device() },
        Letter::AlreadyRegistered { link: link(), valid_for: "30 minutes" },
    ]
}

/// The words a reader of the HTML sees.
fn words_of_html(html: &str) -> Vec<String> {
    let (_, body) = html.split_once("<body").unwrap();
    let mut text = String::new();
    for part in body.split('<').skip(1) {
        let (_, seen) = part.split_once('>').unwrap();
        text.push(' ');
        text.push_str(seen);
    }
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#x2f;", "/")];
    let text = entities.iter().fold(text, |text, (code, sign)| text.replace(code, sign));
    words(&text.replace("&amp;", "&"))
}

fn words(text: &str) -> Vec<String> {
    let bare = |word: &str| word.trim_matches([':', '-']).to_owned();
    text.split_whitespace().map(bare).filter(|word| !word.is_empty()).collect()
}

#[test]
fn text_and_html_of_every_letter_say_the_same() {
    let all = every_letter("Firefox on Linux");
    assert_eq!(all.len(), SOURCES.len());
    for letter in all {
        let content = letters().render(&letter).unwrap();
        assert_eq!(words(&content.text), words_of_html(&content.html), "{}", letter.name());
        assert!(words(&content.text).len() > 25, "{}", content.text);
    }
}

#[test]
fn what_people_typed_is_text_in_every_letter() {
    for letter in every_letter(HOSTILE) {
        let content = letters().render(&letter).unwrap();
        assert!(!content.html.contains("<script"), "{}", content.html);
        assert!(!content.html.contains("onload='"), "{}", content.html);
        assert!(!content.text.contains("49"), "{}", content.text);
        balanced(&content.html);
    }
}

/// Every element that is opened is closed, in order.
fn balanced(html: &str) {
    let mut open = Vec::new();
    for tag in html.split('<').skip(1).map(|part| part.split('>').next().unwrap()) {
        let name = tag.split(' ').next().unwrap();
        match name.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "{html}"),
            None if ["!doctype", "meta", "br"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?} in {html}");
}

#[test]
fn a_device_is_shown_as_words_and_an_unknown_one_is_said_to_be() {
    let device = Device::from(&Raw { user_agent: Some(HOSTILE.to_owned()), address: None });
    assert_eq!(device.address, "unknown");
    assert!(!device.name.contains(['<', '\n', '@', '{']), "{}", device.name);
}

#[test]
fn a_link_is_whole_in_both_forms_and_nothing_is_loaded_from_elsewhere() {
    for letter in every_letter("x").into_iter().take(3) {
        let content = letters().render(&letter).unwrap();
        assert!(content.text.contains("\nhttps://shop.example/account/x#token=abc_-1\n"));
        let html = content.html.replace("&#x2f;", "/");
        assert!(html.contains(r#"href="https://shop.example/account/x#token=abc_-1""#), "{html}");
        for word in ["src=", "<img", "<link", "url(", "@import"] {
            assert!(!html.contains(word), "{word} in {html}");
        }
    }
}

#[test]
fn a_variable_that_is_missing_is_an_error() {
    let mut letters = letters();
    letters.templates.add_template("verify_email.txt", "{{ linc }}").unwrap();
    let letter = &every_letter("x")[0];
    assert!(letters.render(letter).is_err());
}
