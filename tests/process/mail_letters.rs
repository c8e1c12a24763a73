//! The letters, as an operator looks at them.

use std::fs;

use crate::support::{Settings, command::run, unique};

#[test]
fn every_letter_can_be_looked_at_as_text_html_and_message() {
    let folder = std::env::temp_dir().join(unique("mainstay-preview"));
    let settings = Settings::new("postgres://localhost/mainstay")
        .set("APP__MAIL__FROM_NAME", "The Shop")
        .set("APP__MAIL__LINK_BASE_URL", "https://shop.example");
    let told = run(&settings, &["mail", "preview", "--out", folder.to_str().unwrap()]);
    assert!(told.expect("mail preview").starts_with("8 letters are in "));
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(names.len(), 24, "{names:?}");
    for path in names {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("The Shop"), "{}", path.display());
        let message = path.extension().is_some_and(|form| form == "eml");
        assert_eq!(text.contains("\r\nAuto-Submitted: auto-generated\r\n"), message, "{text}");
    }
    let reset = fs::read_to_string(folder.join("reset_password.txt")).unwrap();
    assert!(reset.contains("\nhttps://shop.example/account/reset-password#token="), "{reset}");
    fs::remove_dir_all(folder).unwrap();
}
