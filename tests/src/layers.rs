//! What is in the layers of an image, as text; and a directory with files of many kinds to copy into them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use anyhow::{Context, ensure};
use serde_json::Value;

/// Every new layer of the image in a layout: what is no compressed archive, as those of the base are.
///
/// A line for each entry is `TYPE-AND-MODE USER/GROUP SIZE TIME NAME`, as tar prints it, with `now` for times of the build and none for
/// directories: BuildKit sets those before it makes what is in them, or after.
pub fn text(layout: &Path) -> anyhow::Result<String> {
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
    let manifest: Value = serde_json::from_slice(&fs::read(blob(layout, &index["manifests"][0])?)?)?;
    let mut text = String::new();
    for layer in manifest["layers"].as_array().into_iter().flatten() {
        if layer["mediaType"].as_str().is_some_and(|kind| kind.ends_with(".tar")) {
            text += &format!("layer\n{}", listing(&blob(layout, layer)?)?);
        }
    }
    Ok(text)
}

fn blob(layout: &Path, descriptor: &Value) -> anyhow::Result<std::path::PathBuf> {
    let digest = descriptor["digest"].as_str().context("a descriptor without a digest")?;
    Ok(layout.join("blobs").join(digest.replace(':', "/")))
}

fn listing(archive: &Path) -> anyhow::Result<String> {
    let mut command = Command::new("tar");
    command.args(["--list", "--verbose", "--numeric-owner", "--full-time", "--utc", "--file"]).arg(archive);
    let output = command.env("LC_ALL", "C").output().context("run tar")?;
    ensure!(output.status.success(), "list {}: {}", archive.display(), String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout)?;
    let mut lines: Vec<String> = listed.lines().map(line).collect::<anyhow::Result<_>>()?;
    // Archivers put names in orders of their own.
    lines.sort_by(|one, other| one.split(' ').skip(4).cmp(other.split(' ').skip(4)));
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}

/// A line of tar with one space between fields.
fn line(line: &str) -> anyhow::Result<String> {
    let mut rest = line;
    let mut field = || {
        let (field, left) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
        rest = left;
        field.to_owned()
    };
    let [mode, owner, size, day, time] = [(); 5].map(|()| field());
    let year: u32 = day.split('-').next().unwrap_or_default().parse().with_context(|| line.to_owned())?;
    let when = match () {
        _ if mode.starts_with('d') => "-".to_owned(),
        _ if year > PLANTED_YEAR => "now".to_owned(),
        _ => format!("{day}T{time}"),
    };
    Ok(format!("{mode} {owner} {size} {when} {rest}"))
}

/// When all of what is planted was changed last: 13 September 2020.
const PLANTED: u64 = 1_600_000_000;
const PLANTED_YEAR: u32 = 2020;

/// Name, mode and contents of planted files; a name that ends in `/` is a directory.
const FILES: &[(&str, u32, &str)] = &[
    ("a.txt", 0o644, "a\n"),
    ("b.txt", 0o600, "b\n"),
    ("run.sh", 0o755, "#!/bin/sh\necho hi\n"),
    ("suid", 0o4755, "s"),
    ("dir/one", 0o644, "1"),
    ("dir/two", 0o640, "2"),
    ("dir/sub/three", 0o644, "3"),
    ("dir/sub/.dot", 0o644, "d"),
    ("dir/empty/", 0o755, ""),
    ("dir/sub/", 0o700, ""),
    ("sp ace/fi le", 0o644, "s"),
    ("sticky/x", 0o644, "x"),
    ("sticky/", 0o1777, ""),
    ("wild/a1.go", 0o644, "1"),
    ("wild/a2.go", 0o644, "2"),
    ("wild/b1.txt", 0o644, "3"),
    ("wild/[x]", 0o644, "br"),
];
const SYMLINKS: &[(&str, &str)] =
    &[("ln", "a.txt"), ("lndir", "dir"), ("lnabs", "/etc/passwd"), ("dangling", "nowhere"), ("dir/lnsub", "sub")];

/// Makes the directory that cases copy from.
pub fn plant(dir: &Path) -> anyhow::Result<()> {
    for (name, mode, contents) in FILES {
        let path = dir.join(name);
        let parent = if name.ends_with('/') { Some(path.as_path()) } else { path.parent() };
        fs::create_dir_all(parent.context("a name has a parent")?)?;
        if !name.ends_with('/') {
            fs::write(&path, contents)?;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
    }
    SYMLINKS.iter().try_for_each(|(name, target)| symlink(target, dir.join(name)))?;
    fs::hard_link(dir.join("a.txt"), dir.join("hard"))?;
    for (archive, flags) in [("arc.tar.gz", "-czf"), ("old.tar", "-cf")] {
        let mut tar = Command::new("tar");
        // The oldest format has no magic to know it by.
        let format = if archive.starts_with("old") { "--format=v7" } else { "--format=ustar" };
        tar.args([format, "--owner=77", "--group=88", "--mtime=@1000000", flags]).arg(dir.join(archive));
        let status = tar.arg("-C").arg(dir.join("dir")).args(["one", "sub"]).status().context("run tar")?;
        ensure!(status.success(), "make {archive}: {status}");
    }
    let touched = Command::new("find")
        .arg(dir)
        .args(["-exec", "touch", "-h", "-d", &format!("@{PLANTED}"), "{}", "+"])
        .status()?;
    ensure!(touched.success(), "set times: {touched}");
    Ok(())
}
