//! A real SSH server on a free port of the loopback address.

use std::{
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};

/// OpenSSH's server, which lets in whoever has one key, as the user that the tests run as.
pub struct SshServer {
    /// `127.0.0.1:PORT`.
    pub host: String,
    /// The file of the key.
    pub key: PathBuf,
    /// The file of the keys of the server, as a client knows them.
    pub known_hosts: PathBuf,
}

impl SshServer {
    /// Starts one that keeps its keys in `dir`; it runs until the process ends.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        let dir = dir.join("ssh");
        std::fs::create_dir_all(&dir)?;
        // Debian's start script makes this directory of sshd's, and none runs where it is not there.
        std::fs::create_dir_all("/run/sshd").context("make /run/sshd")?;
        let key = |name: &str| {
            let path = dir.join(name);
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status();
            ensure!(made.context("run ssh-keygen: install the package openssh-client")?.success(), "ssh-keygen failed");
            Ok(path)
        };
        let (of_server, of_client) = (key("server")?, key("client")?);
        let config = dir.join("config");
        let lines = [
            format!("HostKey {}", of_server.display()),
            format!("AuthorizedKeysFile {}.pub", of_client.display()),
            "StrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\nUsePAM no\nPidFile none\n".into(),
        ];
        std::fs::write(&config, lines.join("\n"))?;
        let sshd = ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|path| Path::new(path).exists());
        let sshd = sshd.context("there is no sshd: install the package openssh-server")?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let known_hosts = dir.join("known_hosts");
        let public = std::fs::read_to_string(of_server.with_extension("pub"))?;
        std::fs::write(&known_hosts, format!("[127.0.0.1]:{} {public}", address.port()))?;
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Who asked sees that nobody answers.
                let _ = serve(sshd, &config, stream);
            }
        });
        Ok(SshServer { host: address.to_string(), key: of_client, known_hosts })
    }
}

/// One connection, by a process of its own that ends with it.
fn serve(sshd: &str, config: &Path, stream: TcpStream) -> anyhow::Result<()> {
    let (input, output): (OwnedFd, OwnedFd) = (stream.try_clone()?.into(), stream.into());
    let mut child = Command::new(sshd)
        .args(["-i", "-e", "-f"])
        .arg(config)
        .stdin(input)
        .stdout(output)
        .stderr(Stdio::null())
        .spawn()?;
    std::thread::spawn(move || child.wait());
    Ok(())
}
