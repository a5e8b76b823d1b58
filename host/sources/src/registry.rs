//! Registries as the engine keeps them: one client for the clients of a build, and providers for layers that are not here yet.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use oci::{Anonymous, Client, Hosts, Reference, Repository};
use session::Session;
use store::{Descriptor, Provider};
use tokio::io::AsyncRead;

use crate::credentials::SessionCredentials;

/// What a provider's locator begins with, by its kind.
const LOCATOR_PREFIXES: [(&str, Kind); 3] = [
    ("registry:", Kind::IMAGES),
    ("registry-cache:", Kind { is_cache: true, insecure: false }),
    ("insecure-registry-cache:", Kind { is_cache: true, insecure: true }),
];
/// How many parties' access to one repository is remembered, newest first.
const ACCESS_MAX: usize = 8;

/// The registries of an engine. Whoever pulls or pushes in a build gets the [`Client`] of that build here, so that tokens are shared.
pub struct Registries {
    hosts: Arc<Hosts>,
    clients: Mutex<HashMap<Vec<String>, Access>>,
    providers: Mutex<HashMap<String, Arc<RegistryProvider>>>,
}

/// A client and the credentials behind it.
#[derive(Clone)]
struct Access {
    client: Client,
    credentials: Arc<SessionCredentials>,
}

impl Registries {
    /// Registries that are reached as `hosts` says.
    pub fn new(hosts: Arc<Hosts>) -> Arc<Registries> {
        Arc::new(Registries { hosts, clients: Mutex::default(), providers: Mutex::default() })
    }

    /// The client that logs in as these clients of a build.
    pub fn client(&self, sessions: &[Arc<dyn Session>]) -> Client {
        self.access(sessions).client
    }

    /// Whether nothing may be fetched.
    pub fn is_offline(&self) -> bool {
        self.hosts.is_offline()
    }

    fn access(&self, sessions: &[Arc<dyn Session>]) -> Access {
        let key = sessions.iter().map(|session| session.id().to_string()).collect();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|_, access| access.credentials.is_live());
        let make = || {
            let credentials = Arc::new(SessionCredentials::new(sessions));
            Access { client: Client::new(self.hosts.clone(), credentials.clone()), credentials }
        };
        clients.entry(key).or_insert_with(make).clone()
    }

    /// What fetches layers of `reference`'s repository, now also for these clients, who have shown that they may read it.
    pub(crate) fn provider(&self, reference: &Reference, sessions: &[Arc<dyn Session>]) -> Arc<RegistryProvider> {
        self.allowed(reference, Kind::IMAGES, sessions)
    }

    /// What fetches layers of a cache in `reference`'s repository; before a layer is relied on, it is asked for.
    pub fn cache_provider(
        &self,
        reference: &Reference,
        sessions: &[Arc<dyn Session>],
        insecure: bool,
    ) -> Arc<dyn Provider> {
        self.allowed(reference, Kind { is_cache: true, insecure }, sessions)
    }

    fn allowed(&self, reference: &Reference, kind: Kind, sessions: &[Arc<dyn Session>]) -> Arc<RegistryProvider> {
        let provider = self.made(reference, kind);
        provider.allow(self.access(sessions));
        provider
    }

    fn made(&self, reference: &Reference, kind: Kind) -> Arc<RegistryProvider> {
        let provider = RegistryProvider::new(self.hosts.clone(), reference, kind);
        let mut providers = self.providers.lock().unwrap_or_else(PoisonError::into_inner);
        providers.entry(provider.locator()).or_insert_with(|| Arc::new(provider)).clone()
    }

    /// The provider that a [`Provider::locator`] of an earlier run of the engine meant; `None` when it is none of a registry.
    /// Until a build's client has shown that it may read the repository, it reads as nobody.
    pub fn reopen(&self, locator: &str) -> Option<Arc<dyn Provider>> {
        let (name, kind) =
            LOCATOR_PREFIXES.iter().find_map(|(prefix, kind)| Some((locator.strip_prefix(prefix)?, *kind)))?;
        Some(self.made(&name.parse().ok()?, kind))
    }
}

/// What a provider is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Kind {
    /// A cache, whose blobs come and go.
    is_cache: bool,
    /// Any certificate, and plain http.
    insecure: bool,
}

impl Kind {
    const IMAGES: Kind = Kind { is_cache: false, insecure: false };
}

/// Fetches blobs of one repository.
pub(crate) struct RegistryProvider {
    reference: Reference,
    kind: Kind,
    nobody: Client,
    allowed: Mutex<Vec<Access>>,
}

impl RegistryProvider {
    fn new(hosts: Arc<Hosts>, reference: &Reference, kind: Kind) -> RegistryProvider {
        let nobody = Client::new(hosts, Arc::new(Anonymous));
        RegistryProvider { reference: reference.clone(), kind, nobody, allowed: Mutex::default() }
    }

    /// Puts `access` first.
    fn allow(&self, access: Access) {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        allowed.retain(|old| old.credentials.is_live() && !Arc::ptr_eq(&old.credentials, &access.credentials));
        allowed.insert(0, access);
        allowed.truncate(ACCESS_MAX);
    }

    /// The repository for all who may read, newest first; at last for nobody.
    fn repositories(&self) -> Vec<Repository> {
        let allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        let clients = allowed.iter().map(|access| &access.client).chain([&self.nobody]);
        clients.map(|client| client.repository(&self.reference).insecure(self.kind.insecure)).collect()
    }
}

#[async_trait]
impl Provider for RegistryProvider {
    async fn fetch(&self, descriptor: &Descriptor, offset: u64) -> anyhow::Result<Box<dyn AsyncRead + Send + Unpin>> {
        let mut refused = None;
        for repository in self.repositories() {
            match repository.blob(&descriptor.digest, descriptor.size, offset).await {
                Ok(reader) => return Ok(Box::new(reader)),
                // What somebody with a login was told is what the user must hear, not what nobody was.
                Err(error) if error.is_auth() => refused = Some(refused.unwrap_or(error)),
                Err(error) => return Err(error.into()),
            }
        }
        match refused {
            Some(error) => Err(error.into()),
            None => anyhow::bail!("{}: nobody may read it", self.reference.name()),
        }
    }

    fn locator(&self) -> String {
        let prefix = LOCATOR_PREFIXES.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(prefix, _)| prefix);
        format!("{prefix}{}", self.reference.name())
    }

    async fn has(&self, descriptor: &Descriptor) -> anyhow::Result<bool> {
        if !self.kind.is_cache {
            return Ok(true);
        }
        for repository in self.repositories() {
            match repository.blob_size(&descriptor.digest).await {
                Ok(size) => return Ok(size.is_some()),
                Err(error) => tracing::debug!("is {} still there: {error}", descriptor.digest),
            }
        }
        Ok(false)
    }
}
