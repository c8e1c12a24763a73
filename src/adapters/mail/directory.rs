//! A file for each message: what a developer opens, and what a test without a relay reads.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{Encoded, SendFailure};

pub(super) struct Directory(PathBuf);

impl Directory {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub async fn write(&self, message: Encoded) -> Result<(), SendFailure> {
        let folder = self.0.clone();
        let write = move || put(&folder, &message.id.to_string(), &message.bytes);
        let written = tokio::task::spawn_blocking(write).await.map_err(io::Error::other).flatten();
        written.map_err(|error| {
            SendFailure::transient(format!("the directory cannot be written: {}", error.kind()))
        })
    }
}

/// Renamed when it is whole, so that nobody reads half a message; a second attempt replaces the
/// first. For its owner's eyes only: it may hold a link that resets a password.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let part = folder.join(format!(".{name}.part"));
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    fs::rename(part, folder.join(format!("{name}.eml")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_message_is_one_whole_file_however_often_it_is_written() {
        let folder = std::env::temp_dir().join(format!("mainstay-mail-{}", std::process::id()));
        for text in [&b"first"[..], b"second"] {
            put(&folder, "7", text).unwrap();
        }
        let names: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["7.eml"]);
        assert_eq!(fs::read(folder.join("7.eml")).unwrap(), b"second");
        let mode = fs::metadata(folder.join("7.eml")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }
}
