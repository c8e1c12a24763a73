//! A certificate for this machine, made when it is first asked for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use super::unique;

pub struct Certificate {
    /// The file that a client is to trust.
    pub path: PathBuf,
    acceptor: TlsAcceptor,
}

impl Certificate {
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}

pub fn certificate() -> &'static Certificate {
    static MADE: OnceLock<Certificate> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = std::env::temp_dir().join(unique("mainstay-tls"));
        fs::create_dir_all(&folder).expect("a folder");
        let (path, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        make(&path, &key);
        let chain = CertificateDer::from_pem_file(&path).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&key).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .expect("a pair");
        Certificate { path, acceptor: Arc::new(config).into() }
    })
}

fn make(certificate: &Path, key: &Path) {
    let path = |path: &Path| path.to_str().expect("a plain path").to_owned();
    if Command::new("openssl").arg("version").output().is_err() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/install-debian");
        let _ = Command::new(script).arg("openssl").output();
    }
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=relay", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-out", &path(certificate), "-keyout", &path(key)])
        .output();
    let made = made.expect("openssl, which TLS tests need, is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
