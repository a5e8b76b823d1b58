//! `oci` and `docker`: an image as an OCI layout, in one tar file or in a directory; `docker` can be loaded by Docker.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use session::{Session, content::EXPORT_STORE};
use store::Store;
use tokio::io::AsyncWriteExt as _;

use crate::{
    Built, Exporter, Target,
    assemble::{Image, assemble},
    attrs::{self, Attrs, flag},
    layout::{self, File},
    options::{self, ImageOptions},
};

/// `dest` is where the client puts it.
const OWN: &[&str] = &["tar", "dest"];

pub(crate) struct OciFormat {
    store: Store,
    docker: bool,
}

impl OciFormat {
    pub(crate) fn oci(store: Store) -> Self {
        OciFormat { store, docker: false }
    }

    pub(crate) fn docker(store: Store) -> Self {
        OciFormat { store, docker: true }
    }

    fn files(&self, image: &Image, names: &[oci::Reference]) -> Result<BTreeMap<String, File>> {
        let docker = image.platforms.first().filter(|_| self.docker);
        layout::files(image, names, docker)
    }
}

#[async_trait]
impl Exporter for OciFormat {
    fn names(&self) -> &'static [&'static str] {
        if self.docker { &["docker"] } else { &["oci"] }
    }

    fn check(&self, attrs: &Attrs) -> Result<()> {
        ImageOptions::parse(attrs)?;
        flag(attrs, "tar").map(drop)
    }

    fn ignored(&self, attrs: &Attrs) -> Vec<String> {
        attrs::ignored(attrs, &[options::IMAGE, options::METADATA, OWN])
    }

    async fn export(&self, what: &Built, to: &Target) -> Result<BTreeMap<String, String>> {
        let options = ImageOptions::parse(&to.attrs)?;
        let session = to.session()?;
        if self.docker && what.refs.len() > 1 {
            bail!("Docker loads images of one platform: use type=oci, or build one platform");
        }
        let names = crate::image::resolve_names(&options.names, what)?;
        let references = names.iter().map(|name| name.parse()).collect::<Result<Vec<oci::Reference>, _>>()?;
        let image = assemble(what, &options, to, false).await?;
        let mut response = image.response_with(&layout::described(&image))?;
        if !references.is_empty() {
            let full: Vec<String> = references.iter().map(oci::Reference::to_string).collect();
            response.insert("image.name".to_owned(), full.join(","));
        }
        let files = self.files(&image, &references)?;
        let as_tar = flag(&to.attrs, "tar")?.unwrap_or(true);
        // Only this tells whether the client keeps a store of blobs, where it writes the index itself.
        let probe = session.blob_size(EXPORT_STORE, &image.root.descriptor.digest).await;
        if !as_tar && probe.is_ok() {
            copy_blobs(&image, &**session, to).await?;
        } else if as_tar {
            let mut out = session.send_file(&to.id, &response).await?;
            layout::write_tar(&files, &mut *out, to).await?;
            out.finish().await?;
        } else {
            let dir = tempfile::tempdir().context("make a directory for the layout")?;
            stage(&files, dir.path()).await?;
            let progress = |done, total| (to.progress)("copying files", "copying files", done, total);
            let tree = session::ExportTree { root: dir.path().to_owned(), prefix: None, mod_time: None };
            session.send_dir(&to.id, vec![tree], &response, &progress).await?;
        }
        // The build's record names the image, so that who reads records later can look at it.
        crate::image::put_documents(&self.store, &image).await?;
        Ok(response)
    }
}

/// Writes the blobs that the client does not have, what others name before what names it.
async fn copy_blobs(image: &Image, session: &dyn Session, to: &Target) -> Result<()> {
    let root = &image.root.descriptor.digest;
    let mut blobs: Vec<_> = image.blobs().into_values().collect();
    blobs.sort_by_key(|(descriptor, content)| {
        let is_document = matches!(content, crate::content::Content::Bytes(_));
        (is_document, descriptor.digest == *root)
    });
    let total = blobs.iter().map(|(descriptor, _)| descriptor.size).sum();
    let mut done = 0;
    for (descriptor, content) in blobs {
        if session.blob_size(EXPORT_STORE, &descriptor.digest).await? != Some(descriptor.size) {
            let from = content.open().await?;
            session.write_blob(EXPORT_STORE, &descriptor.digest, descriptor.size, from).await?;
        }
        done += descriptor.size;
        (to.progress)("copying blobs", "copying blobs", done, total);
    }
    Ok(())
}

/// Puts the files under `dir`. Blobs that are files already get another name and are not copied, where the file system can.
async fn stage(files: &BTreeMap<String, File>, dir: &Path) -> Result<()> {
    for (path, file) in files {
        let to = dir.join(path);
        let parent = to.parent().unwrap_or(dir);
        tokio::fs::create_dir_all(parent).await.with_context(|| format!("make {}", parent.display()))?;
        if let Some(from) = local_file(file)
            && tokio::fs::hard_link(from, &to).await.is_ok()
        {
            continue;
        }
        copy(file, &to).await.with_context(|| format!("write {}", to.display()))?;
    }
    Ok(())
}

fn local_file(file: &File) -> Option<&PathBuf> {
    match &file.content {
        crate::content::Content::Layer(layer) => layer.file.as_ref(),
        crate::content::Content::Bytes(_) => None,
    }
}

async fn copy(file: &File, to: &Path) -> Result<()> {
    let mut reader = file.content.open().await?;
    let mut out = tokio::fs::File::create_new(to).await?;
    tokio::io::copy(&mut reader, &mut out).await?;
    Ok(out.flush().await?)
}
