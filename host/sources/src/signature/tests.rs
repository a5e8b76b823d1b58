use std::process::{Command, Stdio};

use super::*;

/// A directory of keys of gpg, which starts a process of its own and ends with the test.
struct Gpg(tempfile::TempDir);

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", self.0.path()).status();
    }
}

impl Gpg {
    fn new() -> Gpg {
        Gpg(tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap())
    }

    fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", self.0.path()).args(["--batch", "--yes", "--quiet", "--no-tty"]);
        command.args(["--pinentry-mode", "loopback", "--passphrase", ""]).args(args).stderr(Stdio::piped());
        let output = command.output().unwrap();
        assert!(output.status.success(), "gpg {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes a key; its fingerprint.
    fn key(&self, name: &str, more: &[&str]) -> String {
        self.run(&[&["--quick-generate-key", name], more].concat());
        let listed = self.run(&["--with-colons", "--list-keys", name]);
        let line = listed.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_string()
    }

    fn public(&self, name: &str) -> String {
        self.run(&["--armor", "--export", name])
    }

    fn sign(&self, name: &str, data: &str, more: &[&str]) -> String {
        let file = self.0.path().join("data");
        std::fs::write(&file, data).unwrap();
        let path = file.to_str().unwrap();
        let args = ["--armor", "--local-user", name, "--output", "-", "--detach-sign", path];
        self.run(&[more, &args].concat())
    }
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: there is no {program} here");
    }
    found
}

fn check(data: &str, signature: &str, keys: &str) -> Result<(), String> {
    check_by(data, signature, keys, Policy::default())
}

fn check_by(data: &str, signature: &str, keys: &str, policy: Policy) -> Result<(), String> {
    verify(&mut data.as_bytes(), signature, keys, policy).map_err(|error| format!("{error:#}"))
}

#[track_caller]
fn refused(result: Result<(), String>, why: &str) {
    let error = result.expect_err(why);
    assert!(error.contains(why), "{error}");
}

const DATA: &str = "what is signed\nin two lines\r\n";

#[test]
fn keys_of_all_kinds() {
    if !has("gpg") {
        return;
    }
    let gpg = Gpg::new();
    gpg.key("other", &["ed25519", "sign"]);
    for kind in ["rsa2048", "ed25519", "nistp256", "nistp384", "nistp521"] {
        gpg.key(kind, &[kind, "sign"]);
        let keys = gpg.public(kind);
        for hash in ["SHA256", "SHA384", "SHA512"] {
            // A curve takes no hash that is shorter than it.
            if (kind, hash) < ("nistp384", "SHA384") && kind == "nistp384" || kind == "nistp521" && hash != "SHA512" {
                continue;
            }
            let signature = gpg.sign(kind, DATA, &["--digest-algo", hash]);
            check(DATA, &signature, &keys).unwrap_or_else(|error| panic!("{kind} {hash}: {error}"));
            refused(check("other data", &signature, &keys), "other data");
        }
        let signature = gpg.sign(kind, DATA, &[]);
        refused(check(DATA, &signature, &gpg.public("other")), "not one of these keys");
        let both = gpg.public("other") + "\n" + &keys;
        check(DATA, &signature, &both).unwrap();
        let text = gpg.sign(kind, DATA, &["--textmode"]);
        check(&DATA.replace("\r\n", "\n"), &text, &keys).unwrap();
        check(&DATA.replace("\r\n", "\n").replace('\n', "\r\n"), &text, &keys).unwrap();
    }
}

#[test]
fn subkeys_sign_where_they_are_bound_to_it() {
    if !has("gpg") {
        return;
    }
    let gpg = Gpg::new();
    let fingerprint = gpg.key("whole", &["ed25519", "cert"]);
    gpg.run(&["--quick-add-key", &fingerprint, "rsa2048", "sign"]);
    gpg.run(&["--quick-add-key", &fingerprint, "cv25519", "encr"]);
    let (signature, keys) = (gpg.sign("whole", DATA, &[]), gpg.public("whole"));
    check(DATA, &signature, &keys).unwrap();
    // Without its names and the signatures on them, nothing says whose the key is.
    let block = &armor::blocks(&keys, armor::PGP_KEYS).unwrap()[0];
    for dropped in [packet::tag::USER_ID, packet::tag::SIGNATURE] {
        let mut bare = Vec::new();
        for packet in packet::packets(block).unwrap().iter().filter(|packet| packet.tag != dropped) {
            bare.extend([0xc0 | packet.tag, 255]);
            bare.extend((packet.body.len() as u32).to_be_bytes());
            bare.extend_from_slice(packet.body);
        }
        refused(check(DATA, &signature, &armored(&bare, armor::PGP_KEYS)), "not bound");
    }
}

fn armored(bytes: &[u8], begin: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    format!("{begin}\n\n{}\n{}\n", BASE64_STANDARD.encode(bytes), begin.replacen("BEGIN", "END", 1))
}

#[test]
fn expired_revoked_and_weak() {
    if !has("gpg") {
        return;
    }
    let gpg = Gpg::new();
    let then = ["--faked-system-time", "20200101T000000!"];
    let mut old = then.to_vec();
    old.extend(["--quick-generate-key", "old", "ed25519", "sign", "1d"]);
    gpg.run(&old);
    let (signature, keys) = (gpg.sign("old", DATA, &then), gpg.public("old"));
    check(DATA, &signature, &keys).unwrap();
    refused(check_by(DATA, &signature, &keys, Policy { reject_expired: true }), "has expired");

    let fingerprint = gpg.key("lost", &["rsa2048", "sign"]);
    let signature = gpg.sign("lost", DATA, &[]);
    let weak = gpg.sign("lost", DATA, &["--digest-algo", "SHA1"]);
    refused(check(DATA, &weak, &gpg.public("lost")), "SHA-1");
    check(DATA, &signature, &gpg.public("lost")).unwrap();
    let revocation = gpg.0.path().join(format!("openpgp-revocs.d/{fingerprint}.rev"));
    let text = std::fs::read_to_string(&revocation).unwrap().replace(":-----BEGIN", "-----BEGIN");
    std::fs::write(&revocation, text).unwrap();
    gpg.run(&["--import", revocation.to_str().unwrap()]);
    refused(check(DATA, &signature, &gpg.public("lost")), "was revoked");

    gpg.key("plain", &["ed25519", "cert,auth"]);
    let secret = gpg.run(&["--armor", "--export-secret-keys", "plain"]).replace("PRIVATE", "PUBLIC");
    refused(check(DATA, &signature, &secret), "secret key");
}

#[test]
fn ssh_keys_of_all_kinds() {
    if Command::new("ssh-keygen").arg("-?").stderr(Stdio::null()).status().is_err() {
        return eprintln!("skipped: there is no ssh-keygen here");
    }
    let dir = tempfile::tempdir().unwrap();
    let ssh_keygen = |args: &[&str]| {
        let output = Command::new("ssh-keygen").args(args).current_dir(&dir).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let sign = |key: &str, namespace: &str, hash: &str| {
        std::fs::write(dir.path().join("data"), DATA).unwrap();
        let _ = std::fs::remove_file(dir.path().join("data.sig"));
        ssh_keygen(&["-Y", "sign", "-q", "-f", key, "-n", namespace, "-O", &format!("hashalg={hash}"), "data"]);
        read("data.sig")
    };
    ssh_keygen(&["-q", "-t", "ed25519", "-N", "", "-f", "other"]);
    for (kind, bits) in [("ed25519", "256"), ("rsa", "2048"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521")] {
        let name = format!("{kind}{bits}");
        ssh_keygen(&["-q", "-t", kind, "-b", bits, "-N", "", "-f", &name]);
        let keys = read(&format!("{name}.pub"));
        for hash in ["sha256", "sha512"] {
            let signature = sign(&name, "git", hash);
            check(DATA, &signature, &keys).unwrap_or_else(|error| panic!("{name} {hash}: {error}"));
            refused(check("other", &signature, &keys), "other data");
            refused(check(DATA, &signature, &read("other.pub")), "another key");
            let listed = format!("# mine\n\n{}restrict,pty {keys}", read("other.pub"));
            check(DATA, &signature, &listed).unwrap();
        }
    }
    refused(check(DATA, &sign("other", "file", "sha256"), &read("other.pub")), "not for git");
    refused(check(DATA, &sign("other", "git", "sha256"), "nobody"), "no public key of SSH");
}

#[test]
fn too_much_is_not_read() {
    refused(check(DATA, "x", ""), "neither OpenPGP's nor SSH's");
    let keys = " ".repeat(KEYS_BYTES_MAX + 1);
    for begin in [armor::PGP_SIGNATURE, armor::SSH_SIGNATURE] {
        refused(check(DATA, &armored(b"x", begin), &keys), "the public keys have more than");
        refused(check(DATA, &armored(&vec![0; SIGNATURE_BYTES_MAX], begin), ""), "the signature has more than");
    }
}

proptest::proptest! {
    #[test]
    fn nonsense_is_an_error(signature: Vec<u8>, keys: Vec<u8>, tag in 0u8..64) {
        let packet = |tag: u8, body: &[u8]| [&[0xc0 | tag, 255][..], &(body.len() as u32).to_be_bytes(), body].concat();
        let ring = [packet(packet::tag::PUBLIC_KEY, &[&[4, 0, 0, 0, 0][..], &keys].concat()), packet(tag, &keys)].concat();
        let signatures = [signature.clone(), packet(2, &[&[4, 0, 1, 8][..], &signature].concat())];
        for signature in signatures {
            for keys in [&keys, &ring] {
                let (signature, keys) = (armored(&signature, armor::PGP_SIGNATURE), armored(keys, armor::PGP_KEYS));
                proptest::prop_assert!(check(DATA, &signature, &keys).is_err());
            }
        }
        let ssh = [&b"SSHSIG\0\0\0\x01"[..], &signature].concat();
        proptest::prop_assert!(check(DATA, &armored(&ssh, armor::SSH_SIGNATURE), "ssh-rsa AAAA").is_err());
    }
}
