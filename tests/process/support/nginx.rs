//! A private nginx before several instances.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{Api, eventually, unique};

pub struct Nginx {
    folder: PathBuf,
    port: u16,
    retries: bool,
    child: Child,
}

impl Nginx {
    /// `retries`: whether a request that an instance did not take is given to another. `None` when
    /// there is no nginx and none can be installed.
    pub async fn start(ports: &[u16], retries: bool) -> Option<Self> {
        let binary = find_or_install()?;
        let (folder, port) = (std::env::temp_dir().join(unique("mainstay-nginx")), free_port());
        fs::create_dir_all(&folder).expect("a folder");
        write(&folder, port, retries, ports);
        let child = Command::new(binary).args(arguments(&folder)).stderr(Stdio::null()).spawn();
        let nginx = Self { folder, port, retries, child: child.expect("nginx starts") };
        eventually("nginx answers", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        Some(nginx)
    }

    pub fn api(&self) -> Api {
        Api::new(&format!("http://127.0.0.1:{}", self.port))
    }

    /// From now on it gives requests to these alone, as an orchestrator tells it.
    pub fn use_only(&self, ports: &[u16]) {
        write(&self.folder, self.port, self.retries, ports);
        super::command::kill("HUP", &[self.child.id()]);
    }

    pub fn errors(&self) -> String {
        fs::read_to_string(self.folder.join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It ends its workers itself, which a KILL would leave behind.
        let _ = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).output();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn arguments(folder: &Path) -> [String; 4] {
    let folder = folder.display();
    ["-p".into(), format!("{folder}/"), "-c".into(), format!("{folder}/nginx.conf")]
}

/// As an operator would write it: connections are kept, and an instance that refuses one is left
/// alone for a while.
fn write(folder: &Path, port: u16, retries: bool, ports: &[u16]) {
    let server = |port: &u16| format!("server 127.0.0.1:{port};\n");
    let servers: String = ports.iter().map(server).collect();
    // What cannot be sent again need not be kept: bodies go on as they come.
    let retries = match retries {
        true => "",
        false => "proxy_next_upstream off; proxy_request_buffering off;",
    };
    let text = format!(
        "daemon off; worker_processes 1; user root; pid nginx.pid; error_log error.log info;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream api {{ {servers} keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection \"\"; {retries}
    }}
  }}
}}
"
    );
    fs::write(folder.join("nginx.conf"), text).expect("the configuration is written");
}

fn find_or_install() -> Option<&'static str> {
    let find = || {
        let works = |name: &&str| Command::new(name).arg("-v").output().is_ok();
        ["nginx", "/usr/sbin/nginx"].into_iter().find(works)
    };
    find().or_else(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/install-debian");
        let _ = Command::new(script).arg("nginx-light").output();
        find()
    })
}

/// Free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("an address").port()
}
